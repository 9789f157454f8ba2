// This file loads what is measured: programs around the list, and the shipped one.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	programs "github.com/xdpallow/xdpallow/bpf/bench"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
)

const port = 443

// noPins is for tables that end with us.
type noPins struct{}

func (noPins) Pin(string, *ebpf.Map) error    { return nil }
func (noPins) Load(string) (*ebpf.Map, error) { return nil, os.ErrNotExist }
func (noPins) Unpin(string) error             { return nil }

// policy guards the port with the lists, in scope syn.
func policy(generation uint64, lists ...*list) maps.Policy {
	p := maps.Policy{Generation: generation, Services: []maps.Service{{TCP: []uint16{port}, Enforce: true}}}
	for _, l := range lists {
		for _, prefix := range l.prefixes {
			p.Entries = append(p.Entries, maps.Entry{Prefix: prefix, Services: maps.EveryService})
		}
	}
	return p
}

// gate is one published policy and the programs that decide by it: the shipped one,
// the floor, the shipped one without sampling, and with its prefilter switched off.
type gate struct {
	tables                           *maps.Tables
	ours, floor, unsampled, trieOnly *counted
}

// sampled is one refused packet of so many, as the daemon sets it in a flood of two
// million a second.
const sampled = 4096

// counted is a program and the counters that it counts in.
type counted struct {
	*ebpf.Program
	counters *ebpf.Map
}

func newGate(lists ...*list) (*gate, error) {
	tables, err := maps.OpenTables(noPins{})
	if err != nil {
		return nil, err
	}
	if _, err := tables.Publish(policy(1, lists...)); err != nil {
		return nil, err
	}
	if err := tables.SetSampling(sampled, sampled); err != nil {
		return nil, err
	}
	g := &gate{tables: tables}
	replacements := tables.Replacements()
	if g.ours, err = loadGate(bpf.LoadXdpallow, replacements); err != nil {
		return nil, err
	}
	if g.floor, err = loadGate(programs.LoadFloor, replacements); err != nil {
		return nil, err
	}
	if g.unsampled, err = loadGate(programs.LoadUnsampled, replacements); err != nil {
		return nil, err
	}
	off, err := withoutPrefilter(replacements[bpf.XdpallowMapCurrent])
	if err != nil {
		return nil, err
	}
	replacements[bpf.XdpallowMapCurrent] = off
	g.trieOnly, err = loadGate(bpf.LoadXdpallow, replacements)
	return g, err
}

func (g *gate) close() error {
	var errs []error
	for _, c := range []*counted{g.ours, g.floor, g.unsampled, g.trieOnly} {
		errs = append(errs, c.Close(), c.counters.Close())
	}
	return errors.Join(append(errs, g.tables.Close())...)
}

// withoutPrefilter copies current and switches the prefilter off in the copy.
func withoutPrefilter(from *ebpf.Map) (*ebpf.Map, error) {
	to, err := ebpf.NewMap(&ebpf.MapSpec{Name: "current_off", Type: from.Type(), KeySize: from.KeySize(), ValueSize: from.ValueSize(), MaxEntries: from.MaxEntries(), Flags: from.Flags()})
	if err != nil {
		return nil, err
	}
	var live bpf.XdpallowCurrent
	if err := from.Lookup(uint32(0), &live); err != nil {
		return nil, err
	}
	return to, to.Put(uint32(0), bpf.XdpallowCurrent{Slot: live.Slot, Generation: live.Generation})
}

func loadGate(load func() (*ebpf.CollectionSpec, error), replacements map[string]*ebpf.Map) (*counted, error) {
	spec, err := load()
	if err != nil {
		return nil, err
	}
	maps.DropTemplates(spec)
	counters, err := counters.New()
	if err != nil {
		return nil, err
	}
	given := map[string]*ebpf.Map{bpf.XdpallowMapCounters: counters}
	for name, m := range replacements {
		given[name] = m
	}
	program, err := loadOne(spec, bpf.XdpallowProgXdpallow, given)
	return &counted{program, counters}, err
}

// loadOne loads one program of a spec.
func loadOne(spec *ebpf.CollectionSpec, name string, replacements map[string]*ebpf.Map) (*ebpf.Program, error) {
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	all, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	defer all.Close()
	return all.DetachProgram(name), nil
}

func loadEmpty() (*ebpf.Program, error) { return loadTrivial("empty") }

// loadTrivial loads one of the driver's programs that judge nothing.
func loadTrivial(name string) (*ebpf.Program, error) {
	spec, err := programs.LoadDriver()
	if err != nil {
		return nil, err
	}
	return loadOne(spec, name, nil)
}

func loadParseAndDrop() (*ebpf.Program, error) {
	spec, err := programs.LoadParseDrop()
	if err != nil {
		return nil, err
	}
	var ports [65536 / 64]uint64
	ports[port/64] = 1 << (port % 64)
	if err := spec.Variables["ports"].Set(ports); err != nil {
		return nil, err
	}
	return loadOne(spec, "parse_drop", nil)
}
