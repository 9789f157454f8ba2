// No change is ever half there (0 gaps): while thousands of entries come and
// go, every verdict must be that of the list before or of the list after.
package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Of the 10,000 entries of a replaced list, some are in every list, and the others in
// every second one. So it is with the entries of the file and with those that add makes.
const (
	everyList  = 7000
	secondList = 3000
	fileSide   = 200
	patches    = 8
)

// soaked is a gate whose lists change while witnesses ask who is let in.
type soaked struct {
	*gate
	random *rand.Rand
	reader *loader.Gate
	file   string
	lists  [2]string // that replace is given

	states      []lists // by the number of the change that made them; grows before begun does
	begun, done atomic.Int64

	verdicts, contested, wrong, passed atomic.Int64
	example                            atomic.Pointer[string]
}

// lists are the sides that stand: 0 or 1.
type lists struct {
	replaced, reloaded int
	patched            [patches]int
}

// address is the i-th source of a kind; side 2 is listed always, side 3 never.
func address(kind, side, i int) netip.Addr {
	if i%4 == 0 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(kind), byte(side), byte(i >> 8), byte(i), 15: 1})
	}
	return netip.AddrFrom4([4]byte{10 + byte(kind), byte(side), byte(i >> 8), byte(i)})
}

// The kinds of changes.
const (
	byReplace = iota
	byReload
	byPatch
)

func line(kind, side, i int) string {
	prefix := netip.PrefixFrom(address(kind, side, i), 32)
	if prefix.Addr().Is6() {
		prefix = netip.PrefixFrom(prefix.Addr(), 64).Masked()
	}
	return fmt.Sprintf("%s owner=acme-%d\n", prefix, i%100)
}

func newSoaked(t *testing.T, changes int) *soaked {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("TEST_SEED"); text != "" {
		seed = labtest.Must(strconv.ParseUint(text, 10, 64))(t)
	}
	t.Logf("TEST_SEED=%d", seed)
	s := &soaked{gate: newGate(t, 1), random: rand.New(rand.NewPCG(seed, 0)), states: make([]lists, changes+1)}
	for side := range s.lists {
		var text strings.Builder
		for i := range everyList {
			text.WriteString(line(byReplace, 2, i))
		}
		for i := range secondList {
			text.WriteString(line(byReplace, side, i))
		}
		s.lists[side] = text.String()
	}
	s.file = filepath.Join(t.TempDir(), "a.list")
	s.write(t, "")
	s.options.Files = []string{s.file}
	s.start()
	s.reader = s.gate.reader()
	t.Cleanup(func() { s.reader.Close() })
	s.replace(0)
	s.reload(0)
	for i := range patches {
		s.patch(i, 0)
	}
	return s
}

func (s *soaked) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *soaked) replace(side int) {
	s.Helper()
	text := s.lists[side]
	for i := range patches { // what add made is part of what replace replaces
		text += line(byPatch, 2, i)
		if s.states[s.begun.Load()].patched[i] == 1 {
			text += line(byPatch, 1, i)
		}
	}
	plan := labtest.Must(s.engine.Replace(context.Background(), api.Caller{}, api.ReplaceRequest{Name: "list", Text: text, ForceShrink: true}))(s.T)
	if len(plan.Entries) < everyList+secondList {
		s.Fatalf("%d entries replaced", len(plan.Entries))
	}
}

func (s *soaked) reload(side int) {
	s.Helper()
	var text strings.Builder
	for i := range fileSide {
		text.WriteString(line(byReload, 2, i) + line(byReload, side, i))
	}
	s.write(s.T, text.String())
	labtest.Must(s.engine.Reload(context.Background(), api.Caller{}, api.ReloadRequest{Force: policy.Force{ForceShrink: true}}))(s.T)
}

func (s *soaked) patch(i, side int) {
	s.Helper()
	if prefix := strings.Fields(line(byPatch, 1, i))[0]; side == 0 {
		_, err := s.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{prefix}})
		if err != nil && !strings.Contains(err.Error(), "is not on the list") {
			s.Fatal(err)
		}
	} else {
		labtest.Must(s.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{prefix}}))(s.T)
	}
}

// change makes the next change, of a kind, and says so to the witnesses.
func (s *soaked) change(kind int) {
	s.Helper()
	n := s.begun.Load()
	next := s.states[n]
	var act func()
	switch kind {
	case byReplace:
		next.replaced = 1 - next.replaced
		act = func() { s.replace(next.replaced) }
	case byReload:
		next.reloaded = 1 - next.reloaded
		act = func() { s.reload(next.reloaded) }
	case byPatch:
		i := s.random.IntN(patches)
		next.patched[i] = 1 - next.patched[i]
		act = func() { s.patch(i, next.patched[i]) }
	}
	s.states[n+1] = next
	s.begun.Store(n + 1)
	act()
	s.done.Store(n + 1)
}

// soakChanges is how many changes a test makes: few, or as many as `make soak` says.
func soakChanges(t *testing.T, few int) int {
	t.Helper()
	if text := os.Getenv("XDPALLOW_CHANGES"); text != "" {
		return labtest.Must(strconv.Atoi(text))(t)
	}
	return few
}

// Promise: 0 gaps through replace: 1,000 replaces (make soak) of a list of 10,000
// entries, and as many reloads, publishes and patches in a mixture, while 10,000 verdicts
// a second and more are asked for: each is right for the list before or after, and none is
// of a list before one that was seen.
func TestChangesUnderLoad(t *testing.T) {
	for name, kinds := range map[string][]int{
		"replaces": {byReplace},
		"mixed":    {byReplace, byReload, byPatch},
	} {
		t.Run(name, func(t *testing.T) {
			changes := soakChanges(t, 6*(1+len(kinds)))
			s := newSoaked(t, changes)
			took := s.underLoad(func() {
				for range changes {
					s.change(kinds[s.random.IntN(len(kinds))])
					time.Sleep(10 * time.Millisecond) // in which there is but one right answer
				}
			})
			verdicts := s.verdicts.Load()
			rate := float64(verdicts) / took.Seconds()
			t.Logf("%d changes in %v: %d verdicts, %.0f a second, %d during a change, %d let in, %d wrong",
				changes, took.Round(time.Millisecond), verdicts, rate, s.contested.Load(), s.passed.Load(), s.wrong.Load())
			if example := s.example.Load(); example != nil {
				t.Errorf("%d of %d verdicts are of no list, as %s", s.wrong.Load(), verdicts, *example)
			}
			if rate < 10_000 || s.contested.Load() < verdicts/10 || s.passed.Load() < verdicts/10 {
				t.Errorf("too little load to tell: %.0f verdicts a second, %d of %d during a change, %d let in", rate, s.contested.Load(), verdicts, s.passed.Load())
			}
		})
	}
}

// The witnesses see it when a list is there that they were not told of: else the test
// above might pass because nobody looks.
func TestWitnessesSeeAnotherList(t *testing.T) {
	s := newSoaked(t, 1)
	s.underLoad(func() {
		for name, put := range map[string]func(side int){"replace": s.replace, "reload": s.reload, "add": func(side int) { s.patch(0, side) }} {
			before := s.wrong.Load()
			put(1)
			for deadline := time.Now().Add(10 * time.Second); s.wrong.Load() == before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("nobody saw another list after %s", name)
				}
			}
			put(0)
		}
	})
	if wrong, all := s.wrong.Load(), s.verdicts.Load(); wrong > all*9/10 {
		t.Errorf("%d of %d verdicts were wrong", wrong, all)
	}
}
