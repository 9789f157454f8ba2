// This file is part (a): programs alone, by test runs in the kernel.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

const (
	drop = 1 // XDP_DROP
	pass = 2

	repeat = 1 << 18
)

// cell is one thing to measure: which program, on which traffic.
type cell struct {
	group, name string
	driven      *driven
	gate        *counted // nil for the programs that do not count
	reason      maps.Reason
	ran         uint64
}

// bed is everything that part (a) has loaded.
type bed struct {
	cells        []*cell
	empty, parse *ebpf.Program
	gates        []*gate
	err          error // of making a cell
}

// micro measures rounds of all cells and returns ns a packet.
func micro(rounds int) (samples, error) {
	b, err := newBed()
	if err != nil {
		return nil, err
	}
	if err := ahead(); err != nil {
		return nil, err
	}
	defer b.close()
	var s samples
	for round := range rounds {
		for _, c := range b.cells {
			ns, err := c.driven.time(repeat)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.group, c.name, err)
			}
			c.ran += uint64(repeat)
			s = append(s, sample{round, c.group, c.name, ns})
		}
		fmt.Fprintf(os.Stderr, "micro: round %d of %d\n", round+1, rounds)
	}
	return s, b.check()
}

// familyName is the family in a group's name.
func familyName(ipv6 bool) string {
	if ipv6 {
		return "ipv6"
	}
	return "ipv4"
}

func (b *bed) close() {
	for _, g := range b.gates {
		g.close()
	}
}

func newBed() (*bed, error) {
	b := &bed{}
	var err error
	if b.empty, err = loadEmpty(); err != nil {
		return nil, err
	}
	if b.parse, err = loadParseAndDrop(); err != nil {
		return nil, err
	}
	for _, ipv6 := range []bool{false, true} {
		var lists []*cell
		for _, n := range sizes {
			cells, err := b.addList(newList(n, ipv6))
			if err != nil {
				return nil, fmt.Errorf("%s, %d prefixes: %w", familyName(ipv6), n, err)
			}
			lists = append(lists, cells...)
		}
		b.cells = append(b.cells, lists...)
	}
	return b, nil
}

// addList adds a list's cells to the group that is compared across sizes, and returns
// its groups of its own, one for each kind of source.
func (b *bed) addList(l *list) (cells []*cell, err error) {
	g, err := newGate(l)
	if err != nil {
		return nil, err
	}
	b.gates = append(b.gates, g)
	kinds := map[string]*traffic{}
	for _, kind := range []string{miss, near, hit} {
		t, err := newTraffic(l.ipv6, l.sources(kind), mapstest.SYN)
		if err != nil {
			return nil, err
		}
		kinds[kind] = t
		group, reason := fmt.Sprintf("%s %d %s", familyName(l.ipv6), l.n, kind), maps.NotListed
		if kind == hit {
			reason = maps.Listed
		}
		cells = append(cells,
			b.counted(group, "floor", t, g.floor, maps.NotListed),
			b.counted(group, "ours", t, g.ours, reason),
			b.counted(group, "trie-only", t, g.trieOnly, reason))
	}

	group := familyName(l.ipv6) + " sizes"
	if l.n == sizes[0] {
		b.cells = append(b.cells,
			b.cell(group, "empty", kinds[miss], b.empty, drop),
			b.cell(group, "parse-and-drop", kinds[miss], b.parse, drop),
			b.counted(group, "floor", kinds[miss], g.floor, maps.NotListed))
	}
	b.cells = append(b.cells, b.counted(group, fmt.Sprintf("ours %d", l.n), kinds[miss], g.ours, maps.NotListed))
	if l.n == 100_000 {
		// The first of them finds the caches full of others' structures.
		sampling := familyName(l.ipv6) + " sampling"
		b.cells = append(b.cells,
			b.counted(sampling, "first", kinds[miss], g.ours, maps.NotListed),
			b.counted(sampling, "left out", kinds[miss], g.unsampled, maps.NotListed),
			b.counted(sampling, "on", kinds[miss], g.ours, maps.NotListed))
		segments, err := newTraffic(l.ipv6, l.sources(hit), mapstest.ACK)
		if err != nil {
			return nil, err
		}
		b.cells = append(b.cells, b.counted(group, "segment", segments, g.ours, maps.NotOpening))
	}
	return cells, b.err
}

func (b *bed) cell(group, name string, t *traffic, program *ebpf.Program, action uint32) *cell {
	driven, err := t.drive(program, action)
	b.err = errors.Join(b.err, err)
	return &cell{group: group, name: name, driven: driven}
}

func (b *bed) counted(group, name string, t *traffic, program *counted, reason maps.Reason) *cell {
	action := uint32(drop)
	if reason.Passes() {
		action = pass
	}
	c := b.cell(group, name, t, program.Program, action)
	c.gate, c.reason = program, reason
	return c
}

// check proves that every packet was one of the kind that was to be measured: each
// program counted at least as many for each reason as it was given, and no others. A
// run that a signal interrupts begins again, so it can be more.
func (b *bed) check() error {
	want := map[*counted]map[maps.Reason]uint64{}
	for _, c := range b.cells {
		if c.gate == nil {
			continue
		}
		if want[c.gate] == nil {
			want[c.gate] = map[maps.Reason]uint64{}
		}
		want[c.gate][c.reason] += c.ran
	}
	for gate, reasons := range want {
		series, counts, err := counters.Counters{Live: gate.counters}.Read()
		if err != nil {
			return err
		}
		got := map[maps.Reason]uint64{}
		for i, one := range series {
			got[one.Reason] += counts[i].Packets
		}
		for reason, packets := range got {
			if packets < reasons[reason] || reasons[reason] == 0 && packets != 0 {
				return fmt.Errorf("%v counted %d packets as %v, not %d", gate, packets, reason, reasons[reason])
			}
		}
	}
	return nil
}
