package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/bpf/bpftest/disguise"
)

// number reads a number from the environment.
func number(tb testing.TB, name string, otherwise uint64) uint64 {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return n
}

// play is what the wire sends, and what bare Linux made of it.
type play struct {
	seed      uint64
	disguises []disguise.Case // of unlisted sources
	ordinary  []disguise.Case // of listed sources
	odd       []disguise.Case // disguises of listed sources
	// Which of them bare Linux answers, by index.
	disguiseOpens, ordinaryOpens, oddOpens []bool
}

// deal makes n disguises, as many of each kind, and a tenth of that of the others.
func deal(seed uint64, target disguise.Target, n int) play {
	p, r := play{seed: seed}, rand.New(rand.NewPCG(seed, 0))
	next := map[netip.Prefix]netip.Addr{}
	client := func(v6, listed bool) netip.Addr {
		prefix := manyUnlisted4
		switch {
		case listed && v6:
			prefix = manyListed6
		case listed:
			prefix = manyListed4
		case v6:
			prefix = manyUnlisted6
		}
		if !next[prefix].IsValid() {
			next[prefix] = prefix.Addr()
		}
		next[prefix] = next[prefix].Next()
		return next[prefix]
	}
	for i := range n {
		kind := disguise.Kinds[i%len(disguise.Kinds)]
		p.disguises = append(p.disguises, target.Disguise(r, kind, client(kind.IPv6, false)))
		if i%10 == 0 {
			v6 := i%20 == 0
			p.ordinary = append(p.ordinary, target.Ordinary(r, client(v6, true)))
			kind := disguise.Kinds[i/10%len(disguise.Kinds)]
			p.odd = append(p.odd, target.Disguise(r, kind, client(kind.IPv6, true)))
		}
	}
	return p
}

// act plays everything to h, all mixed, and says who was answered.
func (p play) act(h *openHost) (disguises, ordinary, odd []bool) {
	h.tb.Helper()
	cases := slices.Concat(p.disguises, p.ordinary, p.odd)
	order := rand.New(rand.NewPCG(p.seed, 1)).Perm(len(cases))
	mixed := make([]disguise.Case, len(cases))
	for i, at := range order {
		mixed[at] = cases[i]
	}
	began := time.Now()
	answered := h.play(mixed)
	opened := make([]bool, len(cases))
	for i, at := range order {
		opened[i] = answered[at]
	}
	h.tb.Logf("%d cases played in %v", len(cases), time.Since(began).Round(time.Millisecond))
	a := len(p.disguises)
	b := a + len(p.ordinary)
	return opened[:a], opened[a:b], opened[b:]
}

// Promise: 0 leaks and 0 false drops, against bare Linux as the oracle. What Linux opens
// for an unlisted source nothing of ours lets open: not the filter, in any scope, native
// or generic, and not the backstop where no XDP program is. What it opens for a listed
// source still opens.
func TestDisguises(t *testing.T) {
	seed := number(t, "TEST_SEED", uint64(time.Now().UnixNano()))
	n := int(number(t, "XDPALLOW_DISGUISES", 5000))
	t.Logf("TEST_SEED=%d XDPALLOW_DISGUISES=%d", seed, n)

	bare := newOpenHost(t)
	p := deal(seed, bare.target(), n)
	p.disguiseOpens, p.ordinaryOpens, p.oddOpens = p.act(bare)
	p.checkAwake(t)

	many := []string{"--allow", manyListed4.String(), "--allow", manyListed6.String()}
	for _, c := range []struct {
		name  string
		alone bool
		flags []string
	}{
		{"syn native", false, []string{"--drop", "syn", "--attach", "native", "--backstop=off"}},
		{"syn generic", false, []string{"--drop", "syn", "--attach", "generic", "--backstop=off"}},
		{"stray native", false, []string{"--drop", "stray", "--attach", "native", "--backstop=off"}},
		{"stray generic", false, []string{"--drop", "stray", "--attach", "generic", "--backstop=off"}},
		{"strict native", false, []string{"--drop", "strict", "--attach", "native", "--backstop=off"}},
		{"strict generic", false, []string{"--drop", "strict", "--attach", "generic", "--backstop=off"}},
		{"both", false, []string{"--drop", "syn", "--attach", "native"}},
		{"backstop alone", true, []string{"--interface", "eth0", "--interface", "spare"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newOpenHost(t)
			if c.alone { // detaching the last interface would end the backstop too
				if _, err := h.lab.AddLink("spare"); err != nil {
					t.Fatal(err)
				}
			}
			h.run(slices.Concat(allowed, many, c.flags)...)
			if c.alone {
				h.must("detach", "--interface", "eth0", "--yes")
			}
			disguises, ordinary, odd := p.act(h)
			p.checkLeaks(t, disguises)
			if refused := h.packets("backstop", "drop"); c.alone != (refused > 0) {
				t.Errorf("the backstop refused %d openings, want it to be what refuses: %t", refused, c.alone)
			}
			p.checkListed(t, ordinary, odd)
		})
	}
}

// checkAwake holds the generator to making cases that bare Linux opens: others would
// prove nothing.
func (p play) checkAwake(t *testing.T) {
	t.Helper()
	all, opened := map[disguise.Kind]int{}, map[disguise.Kind]int{}
	total := 0
	for i, c := range p.disguises {
		all[c.Kind]++
		if p.disguiseOpens[i] {
			opened[c.Kind]++
			total++
		}
	}
	t.Logf("bare Linux opens %d of %d disguises, %d %%", total, len(p.disguises), 100*total/len(p.disguises))
	if 100*total < 80*len(p.disguises) {
		t.Errorf("bare Linux opens %d of %d disguises, less than 80 %%", total, len(p.disguises))
	}
	for _, kind := range disguise.Kinds {
		t.Logf("  %-15s %d of %d, %d %%", kind, opened[kind], all[kind], 100*opened[kind]/all[kind])
		if all[kind] < 300 || 2*opened[kind] < all[kind] {
			t.Errorf("bare Linux opens %d of %d %s, want half of 300 at least", opened[kind], all[kind], kind)
		}
	}
	for i, c := range p.ordinary {
		if !p.ordinaryOpens[i] {
			t.Errorf("bare Linux does not open an ordinary connection: %s", c)
		}
	}
}

// checkLeaks: nothing from an unlisted source opens, whether bare Linux opens it or not.
func (p play) checkLeaks(t *testing.T, opened []bool) {
	t.Helper()
	leaks := 0
	for i, open := range opened {
		if !open {
			continue
		}
		if leaks++; leaks <= 5 {
			t.Errorf("LEAK (bare Linux opens it: %t) %s", p.disguiseOpens[i], p.disguises[i])
		}
	}
	t.Logf("%d leaks in %d disguises", leaks, len(opened))
	if leaks > 5 {
		t.Errorf("%d leaks", leaks)
	}
}

// checkListed: what a listed source opens on bare Linux still opens, but for what is
// barred to all by design.
func (p play) checkListed(t *testing.T, ordinary, odd []bool) {
	t.Helper()
	var lost []string
	for i, open := range ordinary {
		if !open {
			lost = append(lost, p.ordinary[i].String())
		}
	}
	for i, open := range odd {
		if !open && p.oddOpens[i] && !p.odd[i].Barred {
			lost = append(lost, p.odd[i].String())
		}
	}
	t.Logf("%d of %d cases of listed sources lost", len(lost), len(ordinary)+len(odd))
	for _, c := range lost[:min(len(lost), 5)] {
		t.Errorf("a listed source's packet that opens on bare Linux is lost (%d in all): %s", len(lost), fmt.Sprint(c))
	}
}
