// Package mapstest lets tests have tables and programs of their own without a BPF
// file system.
package mapstest

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
)

// Pins is maps.Pins in memory.
type Pins map[string]*ebpf.Map

// Pin keeps a handle of its own.
func (p Pins) Pin(name string, m *ebpf.Map) error {
	clone, err := m.Clone()
	p[name].Close()
	p[name] = clone
	return err
}

// Load returns a new handle.
func (p Pins) Load(name string) (*ebpf.Map, error) {
	m, found := p[name]
	if !found {
		return nil, os.ErrNotExist
	}
	return m.Clone()
}

// Unpin forgets name.
func (p Pins) Unpin(name string) error {
	p[name].Close()
	delete(p, name)
	return nil
}

// Tables opens new tables that hold policy.
func Tables(tb testing.TB, policy maps.Policy) *maps.Tables {
	tb.Helper()
	pins := Pins{}
	tables, err := maps.OpenTables(pins)
	if err != nil {
		tb.Fatalf("open tables: %v", err)
	}
	tb.Cleanup(func() {
		tables.Close()
		for name := range pins {
			pins.Unpin(name)
		}
	})
	Publish(tb, tables, policy)
	return tables
}

// Publish publishes policy or fails the test.
func Publish(tb testing.TB, tables *maps.Tables, policy maps.Policy) {
	tb.Helper()
	if _, err := tables.Publish(policy); err != nil {
		tb.Fatalf("publish: %v", err)
	}
	if err := tables.Release(); err != nil {
		tb.Fatalf("release: %v", err)
	}
}

// Program is a loaded program with its counters.
type Program struct {
	*ebpf.Program
	counters.Counters
}

// Load loads the XDP program on tables; dry makes it a shadow program.
func Load(tb testing.TB, tables *maps.Tables, dry bool) Program {
	tb.Helper()
	return load(tb, tables.Replacements(), shipped(tb), bpf.XdpallowProgXdpallow, dry)
}

// LoadIPFirst loads the shadow program for devices whose frames have no Ethernet header.
func LoadIPFirst(tb testing.TB, tables *maps.Tables) Program {
	tb.Helper()
	return LoadIPFirstShadow(tb, tables, shipped(tb))
}

// LoadIPFirstShadow is LoadIPFirst of another object.
func LoadIPFirstShadow(tb testing.TB, tables *maps.Tables, spec *ebpf.CollectionSpec) Program {
	tb.Helper()
	if err := spec.Variables[bpf.XdpallowVarIpFirst].Set(uint8(1)); err != nil {
		tb.Fatal(err)
	}
	return load(tb, tables.Replacements(), spec, bpf.XdpallowProgXdpallowIp, true)
}

// LoadShadow loads the XDP program of another object as a shadow program on tables.
func LoadShadow(tb testing.TB, tables *maps.Tables, spec *ebpf.CollectionSpec) Program {
	tb.Helper()
	return load(tb, tables.Replacements(), spec, bpf.XdpallowProgXdpallow, true)
}

// LoadBackstop loads the program of the socket lookups on tables.
func LoadBackstop(tb testing.TB, tables *maps.Tables) Program {
	tb.Helper()
	return load(tb, tables.Replacements(), shipped(tb), bpf.XdpallowProgBackstop, false)
}

func shipped(tb testing.TB) *ebpf.CollectionSpec {
	tb.Helper()
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		tb.Fatal(err)
	}
	return spec
}

func load(tb testing.TB, replacements map[string]*ebpf.Map, spec *ebpf.CollectionSpec, name string, dry bool) Program {
	tb.Helper()
	if dry {
		if err := spec.Variables[bpf.XdpallowVarDry].Set(uint8(1)); err != nil {
			tb.Fatal(err)
		}
	}
	made, err := counters.New()
	if err != nil {
		tb.Fatal(err)
	}
	replacements[bpf.XdpallowMapCounters] = made
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	maps.DropTemplates(spec)
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		tb.Fatalf("load program: %+v", err)
	}
	tb.Cleanup(func() {
		loaded.Close()
		made.Close()
	})
	return Program{loaded.Programs[name], counters.Counters{Live: made}}
}

// Run gives the program one frame and returns its return value.
func (p Program) Run(tb testing.TB, frame []byte) uint32 {
	tb.Helper()
	value, err := p.Program.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		tb.Fatalf("run program: %v", err)
	}
	return value
}

// Counted returns every series that is not zero.
func (p Program) Counted(tb testing.TB) map[counters.Series]counters.Count {
	tb.Helper()
	series, counts, err := p.Read()
	if err != nil {
		tb.Fatal(err)
	}
	counted := map[counters.Series]counters.Count{}
	for i, count := range counts {
		if count != (counters.Count{}) {
			counted[series[i]] = count
		}
	}
	return counted
}
