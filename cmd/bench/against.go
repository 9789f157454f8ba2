// This file compares the drop path with that of another build, in one process and in turns: on a
// busy machine two runs of the same program differ by more than a change costs.
package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

const (
	slower      = 1.03 // what a change may cost, as the median over the rounds
	pairs       = 21
	hastyPairs  = 3
	otherObject = "xdpallow_bpfel.o"
	otherFloor  = "bench/floor_bpfel.o"
)

// against measures every kind of drop with our programs and with those in the folder bpf
// of another tree, and prints how much ours take of what the others take. It returns an
// error when one takes over 1.03 of that.
func against(out io.Writer, other string, prefixes []int, rounds int) error {
	if err := ahead(); err != nil {
		return err
	}
	var slow int
	for _, ipv6 := range []bool{false, true} {
		for _, n := range prefixes {
			found, err := compareList(out, other, newList(n, ipv6), rounds)
			if err != nil {
				return fmt.Errorf("%s, %d prefixes: %w", familyName(ipv6), n, err)
			}
			slow += found
		}
	}
	if slow > 0 {
		return fmt.Errorf("%d figures are over %.2f", slow, slower)
	}
	return nil
}

// contest is one kind of traffic, and what it costs in the one build and in the other.
type contest struct {
	name         string
	ours, theirs *driven
	judged       bool // else the figure is for information
}

func compareList(out io.Writer, other string, l *list, rounds int) (slow int, err error) {
	g, err := newGate(l)
	if err != nil {
		return 0, err
	}
	defer g.close()
	contests, err := contestsOf(g, other, l)
	if err != nil {
		return 0, err
	}
	for _, c := range contests {
		var s samples
		for round := range rounds {
			turns := []cell{{name: "ours", driven: c.ours}, {name: "theirs", driven: c.theirs}}
			if round%2 == 1 {
				turns[0], turns[1] = turns[1], turns[0]
			}
			for _, turn := range turns {
				ns, err := turn.driven.ofThread(2 * repeat)
				if err != nil {
					return slow, fmt.Errorf("%s, %s: %w", c.name, turn.name, err)
				}
				s = append(s, sample{round, c.name, turn.name, ns})
			}
		}
		slow += s.judge(out, c.name, c.judged)
	}
	if !l.ipv6 { // the flood is of IPv4
		live, err := compareLive(out, g, other, l, rounds)
		return slow + live, err
	}
	return slow, nil
}

// judge prints how a contest ended, and returns 1 when ours is slower in one that is judged.
func (s samples) judge(out io.Writer, name string, judged bool) (slow int) {
	ratio, _ := s.ratio(name, "ours", "theirs")
	ours, _ := s.median(name, "ours")
	theirs, _ := s.median(name, "theirs")
	verdict := ""
	if judged && ratio > slower {
		slow, verdict = 1, "  slower"
	}
	fmt.Fprintf(out, "%-24s ours %6.1f ns  theirs %6.1f ns  ratio %.3f%s\n", name, ours, theirs, ratio, verdict)
	return slow
}

// compareLive floods a host whose interface runs our program and theirs in turns, and compares what the
// softirq spends on a packet. Two hosts would differ by where their memory lies.
func compareLive(out io.Writer, g *gate, other string, l *list, rounds int) (slow int, err error) {
	theirs, err := loadOther(filepath.Join(other, otherObject), g.tables.Replacements())
	if err != nil {
		return 0, err
	}
	defer theirs.counters.Close()
	defer theirs.Close()
	var held link.Link
	c, err := newContender(filter{"live", func(lab *netlab.Lab, _ *list) (remove, error) {
		held, err = attach(lab, g.ours.Program)
		return func() error { return held.Close() }, err
	}}, l, l.sources(miss))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	name := fmt.Sprintf("%s live %d", familyName(l.ipv6), l.n)
	turns := []struct {
		name    string
		program *ebpf.Program
		spent   spent
	}{{name: "ours", program: g.ours.Program}, {name: "theirs", program: theirs.Program}}
	var s samples
	for round := range rounds {
		for range 2 * passes { // two that are nearly alike need more than those of part (b)
			slices.Reverse(turns)
			for i := range turns {
				if err := held.Update(turns[i].program); err != nil {
					return 0, err
				}
				c.spent = turns[i].spent
				if err := c.measure(); err != nil {
					return 0, fmt.Errorf("%s: %w", turns[i].name, err)
				}
				turns[i].spent = c.spent
			}
		}
		for i := range turns {
			c.spent, turns[i].spent = turns[i].spent, spent{}
			s = append(s, sample{round, name, turns[i].name, c.cost()})
		}
	}
	return s.judge(out, name, true), nil
}

func contestsOf(g *gate, other string, l *list) (contests []contest, err error) {
	family := familyName(l.ipv6)
	add := func(name, object string, ours *counted, kind string, flags uint8, action uint32, judged bool) {
		if err != nil {
			return
		}
		c := contest{name: name, judged: judged}
		var theirs *counted
		if theirs, err = loadOther(filepath.Join(other, object), g.tables.Replacements()); err != nil {
			return
		}
		var t *traffic
		if t, err = newTraffic(l.ipv6, l.sources(kind), flags); err != nil {
			return
		}
		if c.ours, err = t.drive(ours.Program, action); err != nil {
			return
		}
		c.theirs, err = t.drive(theirs.Program, action)
		contests = append(contests, c)
	}
	if l.n == 15 {
		add(family+" floor", otherFloor, g.floor, miss, mapstest.SYN, drop, true)
		add(family+" segment", otherObject, g.ours, miss, mapstest.ACK, pass, true)
	}
	add(fmt.Sprintf("%s miss %d", family, l.n), otherObject, g.ours, miss, mapstest.SYN, drop, true)
	add(fmt.Sprintf("%s near %d", family, l.n), otherObject, g.ours, near, mapstest.SYN, drop, false)
	return contests, err
}

// loadOther loads the XDP program of another build on our tables. Their layouts must begin
// alike: ours may have more behind.
func loadOther(path string, tables map[string]*ebpf.Map) (*counted, error) {
	return loadGate(func() (*ebpf.CollectionSpec, error) {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			return nil, fmt.Errorf("load the other build: %w", err)
		}
		for name, m := range tables {
			theirs, found := spec.Maps[name]
			if !found || theirs.KeySize != m.KeySize() || theirs.ValueSize > m.ValueSize() {
				delete(tables, name) // of the backstop, which is not measured
				continue
			}
			theirs.ValueSize = m.ValueSize()
		}
		return spec, nil
	}, tables)
}
