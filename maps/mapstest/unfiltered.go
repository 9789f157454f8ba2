package mapstest

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
)

// Unfiltered is a twin that asks the tries about every source: it decides by a copy of
// the policy in which the prefilter is switched off.
type Unfiltered struct {
	Program
	current, from, to *ebpf.Map
}

// LoadUnfiltered loads the twin of tables without the prefilter. It must Follow each
// publish.
func LoadUnfiltered(tb testing.TB, tables *maps.Tables) Unfiltered {
	tb.Helper()
	replacements := tables.Replacements()
	clone := func(name string) *ebpf.Map {
		m, err := replacements[name].Clone() // tables may be closed before us
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { m.Close() })
		return m
	}
	u := Unfiltered{current: clone(bpf.XdpallowMapCurrent), from: clone(bpf.XdpallowMapPolicy)}
	to, err := ebpf.NewMap(shipped(tb).Maps[bpf.XdpallowMapPolicy])
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { to.Close() })
	replacements[bpf.XdpallowMapPolicy] = to
	u.Program, u.to = load(tb, replacements, shipped(tb), bpf.XdpallowProgXdpallow, true), to
	if _, err := u.Follow(); err != nil {
		tb.Fatal(err)
	}
	return u
}

// Follow copies what was published. It returns which families have a prefilter there.
func (u Unfiltered) Follow() (filtered [2]bool, err error) {
	var live bpf.XdpallowCurrent
	if err := u.current.Lookup(uint32(0), &live); err != nil {
		return filtered, err
	}
	row := new(bpf.XdpallowPolicy)
	if err := u.from.Lookup(uint32(live.Slot), row); err != nil {
		return filtered, err
	}
	for family := range row.Prefilter {
		filtered[family] = row.Prefilter[family].Shift != 0
		row.Prefilter[family].Shift = 0
	}
	return filtered, u.to.Put(uint32(live.Slot), row)
}
