package mapstest

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
)

// Unfiltered is a shadow program that asks the tries about every source: it begins with a copy of
// current in which the prefilter is switched off.
type Unfiltered struct {
	Program
	from, to *ebpf.Map
}

// LoadUnfiltered loads the shadow program of tables without the prefilter. It must Follow each
// publish.
func LoadUnfiltered(tb testing.TB, tables *maps.Tables) Unfiltered {
	tb.Helper()
	replacements := tables.Replacements()
	from, err := replacements[bpf.XdpallowMapCurrent].Clone() // tables may be closed before us
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { from.Close() })
	spec := shipped(tb).Maps[bpf.XdpallowMapCurrent]
	spec.Flags = from.Flags()
	to, err := ebpf.NewMap(spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { to.Close() })
	replacements[bpf.XdpallowMapCurrent] = to
	u := Unfiltered{load(tb, replacements, shipped(tb), bpf.XdpallowProgXdpallow, true), from, to}
	if _, err := u.Follow(); err != nil {
		tb.Fatal(err)
	}
	return u
}

// Follow copies what was published. It returns which families have a prefilter there.
func (u Unfiltered) Follow() (filtered [2]bool, err error) {
	var live bpf.XdpallowCurrent
	if err := u.from.Lookup(uint32(0), &live); err != nil {
		return filtered, err
	}
	for family := range filtered {
		filtered[family] = live.Prefilter[live.Slot][family].Shift != 0
	}
	live = bpf.XdpallowCurrent{Slot: live.Slot, Generation: live.Generation, Sample: live.Sample, SampleNear: live.SampleNear, Backstop: live.Backstop}
	return filtered, u.to.Put(uint32(0), live)
}
