// The prefilter in front of the tries may only ever say "surely not": for any address,
// after any publishes and patches, the verdict with it is the verdict without it and that
// of the model. Guards 0 leaks and 0 false drops.
package maps_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// deciders are the three that must agree, and what they have seen.
type deciders struct {
	tables     *maps.Tables
	open       func() (*maps.Tables, error)
	filtered   mapstest.Program
	unfiltered mapstest.Unfiltered
	model      *model
	random     *rand.Rand // of the addresses to ask for
	now        uint64
	seen       map[string]int
}

func newDeciders(tb testing.TB) *deciders {
	tb.Helper()
	pins := mapstest.Pins{}
	open := func() (*maps.Tables, error) { return maps.OpenTables(pins) }
	tables, err := open()
	if err != nil {
		tb.Fatal(err)
	}
	d := &deciders{tables: tables, open: open, now: boottime(tb), seen: map[string]int{}}
	tb.Cleanup(func() {
		d.tables.Close()
		for name := range pins {
			pins.Unpin(name)
		}
	})
	mapstest.Publish(tb, tables, policyOf(1))
	d.filtered, d.unfiltered = mapstest.Load(tb, tables, true), mapstest.LoadUnfiltered(tb, tables)
	return d
}

// play starts from an empty list, takes the steps and compares after each change.
func (d *deciders) play(steps []step, random *rand.Rand) error {
	d.model, d.random = newModel(policyOf(1).Services), random
	published := false
	for _, s := range steps {
		p, act := s.prefix(), s.act()
		switch {
		case act == dense:
			d.list(crowd(p)...)
			published = false
			continue
		case act == list && !published:
			d.list(p)
			continue
		case !published:
			if err := d.publish(); err != nil {
				return err
			}
			published = true
		}
		if err := d.change(act, p); err != nil {
			return fmt.Errorf("%d %v: %w", act, p, err)
		}
	}
	return d.publish()
}

func (d *deciders) list(prefixes ...netip.Prefix) {
	for _, p := range prefixes {
		d.model.put(maps.Entry{Prefix: p, Services: maps.EveryService})
	}
}

func (d *deciders) publish() error {
	if _, err := d.tables.Publish(d.model.policy(d.tables.Generation() + 1)); err != nil {
		return err
	}
	filtered, err := d.unfiltered.Follow()
	if err != nil {
		return err
	}
	for family, on := range filtered {
		d.seen[fmt.Sprintf("published with a prefilter of family %d: %v", family, on)]++
	}
	sources := []netip.Addr{addr("0.0.0.0"), addr("255.255.255.255"), addr("::"), randomAddr(d.random, true), randomAddr(d.random, false)}
	prefixes := d.model.prefixes()
	d.random.Shuffle(len(prefixes), func(i, j int) { prefixes[i], prefixes[j] = prefixes[j], prefixes[i] })
	for _, p := range prefixes[:min(len(prefixes), 60)] {
		sources = append(sources, d.around(p)...)
	}
	return d.compare(sources)
}

// change does what is done in place, or publishes where the kernel half says no.
func (d *deciders) change(what act, p netip.Prefix) error {
	generation := d.tables.Generation() + 1
	var err error
	switch what {
	case list, put:
		d.list(p)
		_, err = d.tables.Patch([]maps.Entry{d.model.entries[p]}, nil, generation)
	case remove:
		there, ok := d.nearest(p)
		if !ok {
			return nil
		}
		p = there
		d.model.remove(p)
		_, err = d.tables.Patch(nil, []netip.Prefix{p}, generation)
	case adopt:
		if err := d.tables.Close(); err != nil {
			return err
		}
		if d.tables, err = d.open(); err != nil {
			return err
		}
	}
	if errors.Is(err, maps.ErrPatch) {
		d.seen["too wide for a patch"]++
		return d.publish()
	}
	if err != nil {
		return err
	}
	d.seen[fmt.Sprintf("changed in place: %d", what)]++
	return d.compare(d.around(p))
}

// nearest is the longest entry that covers p, or else the first at or after it.
func (d *deciders) nearest(p netip.Prefix) (netip.Prefix, bool) {
	for covering := range d.model.trie.Supernets(p) {
		return covering, true
	}
	for _, there := range d.model.prefixes() {
		if there.Addr().Is4() == p.Addr().Is4() && there.Compare(p) >= 0 {
			return there, true
		}
	}
	return p, false
}

func (d *deciders) around(p netip.Prefix) []netip.Addr {
	return append(edges(p), flipTail(d.random, p.Addr()), flipTail(d.random, p.Addr()))
}

// compare asks all three. A tagged frame does not take the fast path.
func (d *deciders) compare(sources []netip.Addr) error {
	for _, source := range sources {
		if source.Is4In6() {
			continue
		}
		want := d.model.opening(source, 1, d.now)
		d.seen[want.Reason.String()]++
		plain := mapstest.Opening(source, port)
		tagged := plain
		tagged.Tags = 1
		for name, question := range map[string]struct {
			program mapstest.Program
			frame   mapstest.Frame
		}{
			"with prefilter": {d.filtered, plain}, "with prefilter, tagged": {d.filtered, tagged}, "without": {d.unfiltered.Program, plain},
		} {
			value, err := question.program.Program.Run(&ebpf.RunOptions{Data: question.frame.Bytes()})
			if err != nil {
				return err
			}
			if got := maps.AnswerOf(value); got != want {
				return fmt.Errorf("%v, %s: %v, want %v\ncovering: %s", source, name, got, want, covering(d.model, source))
			}
		}
	}
	return nil
}

// flagDefault sets a flag that was not given.
func flagDefault(t *testing.T, name, value string) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
}

// For longer: go test ./maps -run PrefilterChangesNoVerdict -rapid.checks 10000
func TestPrefilterChangesNoVerdict(t *testing.T) {
	t.Parallel() // it is mostly waiting for publishes
	flagDefault(t, "rapid.checks", "10")
	flagDefault(t, "rapid.seed", fmt.Sprint(randomSeed(t)))
	d := newDeciders(t)
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "addresses")
		if err := d.play(scripts().Draw(rt, "script"), rand.New(rand.NewPCG(seed, 0))); err != nil {
			rt.Fatal(err)
		}
	})
	t.Log(d.seen)
	for _, must := range []string{
		"listed", "not_listed",
		fmt.Sprintf("changed in place: %d", put), fmt.Sprintf("changed in place: %d", remove), fmt.Sprintf("changed in place: %d", adopt),
		"published with a prefilter of family 0: true", "published with a prefilter of family 1: true",
	} {
		if d.seen[must] == 0 {
			t.Errorf("%s: never seen, so nothing is proved about it", must)
		}
	}
}

// FuzzPrefilter looks for a list and changes to it on which they differ.
func FuzzPrefilter(f *testing.F) {
	f.Add([]byte{0, 24, 192, 0, 2, 1, 0, 32, 192, 0, 2, 7, 4, 25, 192, 0, 3, 9, 10, 32, 192, 0, 2, 7})
	f.Add([]byte{1, 48, 1, 2, 3, 4, 3, 50, 1, 2, 9, 4, 5, 64, 1, 2, 3, 9, 14, 0, 0, 0, 0, 0, 5, 33, 1, 7, 3, 9})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 32, 9, 9, 9, 9, 10, 0, 0, 0, 0, 0})         // over-dense
	f.Add([]byte{2, 18, 10, 1, 0, 0, 2, 24, 10, 1, 7, 0, 2, 26, 10, 1, 7, 64, 4, 12, 10, 16, 0, 8}) // dense, nested
	d := newDeciders(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		var steps []step
		for ; len(script) >= 6 && len(steps) < 40; script = script[6:] {
			steps = append(steps, step{script[0], script[1], [4]byte(script[2:6])})
		}
		if err := d.play(steps, rand.New(rand.NewPCG(uint64(len(steps)), 0))); err != nil {
			t.Fatal(err)
		}
	})
}
