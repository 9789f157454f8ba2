package reconcile_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// witness asks who is let in. Once it has seen a state, it accepts none before it: what
// is changed by many steps, some of which it saw, is wrong even if it will be right.
type witness struct {
	*soaked
	random *rand.Rand
	floor  int64
}

// watch asks until stop is closed. It leaves half of its CPU to the changes: they are
// to be many, too.
func (w *witness) watch(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(3 * time.Millisecond):
		}
		for range 300 {
			w.ask(w.random.IntN(3), w.random.IntN(4), w.random.IntN(1<<20))
		}
	}
}

func (w *witness) ask(kind, side, i int) {
	switch {
	case kind == byPatch:
		i %= patches
	case kind == byReload:
		i %= fileSide
	case side == 2:
		i %= everyList
	default:
		i %= secondList
	}
	frame := mapstest.Opening(address(kind, side, i), 8443).Bytes()
	before := w.done.Load()
	answer, err := w.reader.Ask("eth0", frame)
	after := w.begun.Load()
	first := max(before, w.floor)
	for first <= after && answer != w.right(kind, side, i, first) {
		first++
	}
	w.verdicts.Add(1)
	if after > before {
		w.contested.Add(1)
	}
	if answer.Verdict == maps.Pass {
		w.passed.Add(1)
	}
	if first > after || err != nil {
		w.wrong.Add(1)
		text := fmt.Sprintf("%s: %v (%v) in state %d to %d, after one of %d", address(kind, side, i), answer, err, before, after, w.floor)
		w.example.CompareAndSwap(nil, &text)
		return
	}
	w.floor = first
}

// right is the answer to a source in state n.
func (s *soaked) right(kind, side, i int, n int64) maps.Answer {
	stands := [...]int{byReplace: s.states[n].replaced, byReload: s.states[n].reloaded, byPatch: s.states[n].patched[i%patches]}[kind]
	if side == 2 || side == stands && (kind != byPatch || side == 1) {
		return maps.Answer{Verdict: maps.Pass, Reason: maps.Listed}
	}
	return maps.Answer{Verdict: maps.Drop, Reason: maps.NotListed}
}

// underLoad makes changes while two witnesses look.
func (s *soaked) underLoad(changes func()) (took time.Duration) {
	s.Helper()
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 2 {
		w := &witness{soaked: s, random: rand.New(rand.NewPCG(s.random.Uint64(), 0))}
		running.Go(func() { w.watch(stop) })
	}
	begin := time.Now()
	func() {
		defer running.Wait()
		defer close(stop)
		changes()
		took = time.Since(begin)
	}()
	return took
}
