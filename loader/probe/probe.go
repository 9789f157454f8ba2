// Package probe finds out which addresses of a customer forward strangers to this host, by being a
// stranger: it knocks at an address from here and looks whether the customer opens a connection to
// this host right then. Time, network and counters are the caller's: see [World].
//
// Who forwards opens a connection at every knock. So the first knock at each address acquits most
// of them. A busy customer opens connections all the time, and one that follows a knock proves
// nothing. So each address that is left gets further knocks, and between these lie windows of the
// same length without one, in an order that is drawn. Whoever does not forward cannot know which
// windows have a knock, so however his own connections come, in bursts or to a clock, every choice of
// the windows with a knock was as likely. See chance in judge.go for what follows from that.
package probe

import (
	"context"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const (
	// Window is how long an opening may come after a knock.
	Window = 2 * time.Second
	// Hold is how long a knock may take, and its connection stays open.
	Hold = time.Second
	// leastPause and mostPause bound the time between two windows: so there are at most ten
	// knocks a second, and no customer's clock keeps step with them.
	leastPause = 100 * time.Millisecond
	mostPause  = 400 * time.Millisecond

	// DefaultKnocks is how often an address is knocked at. With fewer than LeastKnocks nothing could
	// be proven.
	DefaultKnocks = 5
	LeastKnocks   = 4
	MostKnocks    = 20
	// MostTargets bounds a run.
	MostTargets = 256

	// Windows without a knock are as many as those with one after the first, within these bounds:
	// fewer prove nothing about a single address, and more prove nothing more.
	leastQuiet = 20
	mostQuiet  = 128
)

// World is what a run needs of the world.
type World interface {
	Now() time.Time
	// Wait returns after d, or with the error of ctx.
	Wait(ctx context.Context, d time.Duration) error
	// Knock opens a connection within Hold and says what makes a proxy forward it. It returns nil
	// where nobody answers, and an error only where this host cannot knock.
	Knock(ctx context.Context, target netip.AddrPort) (io.Closer, error)
	// Look returns what the customer has opened.
	Look(ctx context.Context) (Look, error)
}

// Look is what a customer had opened to the protected ports at one moment.
type Look struct {
	Openings uint64           // ever; passed or dropped
	Peers    []netip.AddrPort // far ends of the connections that are open, sorted
}

// Answer says whether a target forwards.
type Answer string

// The answers.
const (
	Forwards     Answer = "forwards"     // an opening followed each knock, which chance does not explain
	No           Answer = "no"           // none followed one of the knocks
	Inconclusive Answer = "inconclusive" // one followed each knock, and chance may explain that
	Closed       Answer = "closed"       // nobody answers there
)

// Target is an address and a port at which a run knocked, and what came of it.
type Target struct {
	At       netip.AddrPort
	Answer   Answer
	Knocks   int          // that were answered
	Followed int          // of those, by an opening
	Chance   float64      // that somebody who does not forward had all of them followed
	From     []netip.Addr // where connections came from that opened with a knock; sorted

	closed bool
}

// settled reports whether no further knock can change the answer.
func (t *Target) settled() bool { return t.closed || t.Followed < t.Knocks }

// Outcome is what came of a run.
type Outcome struct {
	Targets []Target // in the order that they were given
	Quiet   int      // windows without a knock
	Busy    int      // of those, with an opening
}

// Longest returns how long a run takes if every address answers and is followed each time.
func Longest(targets, knocks int) time.Duration {
	return time.Duration(targets*knocks+quietOf(targets, knocks-1)) * (Window + (leastPause+mostPause)/2)
}

func quietOf(targets, knocks int) int { return max(leastQuiet, min(targets*knocks, mostQuiet)) }

// Run knocks at each of targets so many times, one connection at a time, and judges them. It drops
// an address at the first knock that nothing follows, and ends when none is left. The error is that
// of ctx or of w, and nobody is judged then.
func Run(ctx context.Context, w World, random *rand.Rand, targets []netip.AddrPort, knocks int) (Outcome, error) {
	out := Outcome{Targets: make([]Target, len(targets))}
	var all, suspects []*Target
	for i, at := range targets {
		out.Targets[i].At = at
		all = append(all, &out.Targets[i])
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if err := out.watchEach(ctx, w, random, all); err != nil {
		return Outcome{}, err
	}
	for _, target := range all {
		if !target.settled() {
			suspects = append(suspects, target)
		}
	}
	if err := out.watchEach(ctx, w, random, schedule(random, suspects, knocks-1)); err != nil {
		return Outcome{}, err
	}
	out.judge(knocks, len(suspects))
	return out, nil
}

// schedule returns so many windows with a knock at each target, and with nil those without one. All
// orders are equally likely.
func schedule(random *rand.Rand, targets []*Target, knocks int) []*Target {
	windows := append(slices.Repeat(targets, knocks), make([]*Target, quietOf(len(targets), knocks))...)
	random.Shuffle(len(windows), func(i, j int) { windows[i], windows[j] = windows[j], windows[i] })
	return windows
}

// watchEach watches windows, but for those of targets that are settled.
func (o *Outcome) watchEach(ctx context.Context, w World, random *rand.Rand, windows []*Target) error {
	for _, target := range windows {
		if target != nil && target.settled() {
			continue
		}
		if !slices.ContainsFunc(o.Targets, func(t Target) bool { return !t.settled() }) {
			break
		}
		err := w.Wait(ctx, leastPause+time.Duration(random.Int64N(int64(mostPause-leastPause))))
		if err == nil {
			err = o.watch(ctx, w, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// watch counts a window, with a knock at target unless that is nil. It looks at the same moments
// with and without a knock, so that both see the same of what the customer does anyway.
func (o *Outcome) watch(ctx context.Context, w World, target *Target) error {
	began := w.Now()
	before, err := w.Look(ctx)
	if err != nil {
		return err
	}
	var knock io.Closer = nobody{}
	if target != nil {
		if knock, err = w.Knock(ctx, target.At); err != nil {
			return err
		}
		if knock == nil {
			target.closed = true
			return nil
		}
	}
	defer knock.Close()
	until := func(d time.Duration) (Look, error) {
		if err := w.Wait(ctx, max(0, d-w.Now().Sub(began))); err != nil {
			return Look{}, err
		}
		return w.Look(ctx)
	}
	held, err := until(Hold)
	if err != nil {
		return err
	}
	knock.Close() // a forwarder's connection ends with ours
	after, err := until(Window)
	if err != nil {
		return err
	}
	from := append(opened(before, held), opened(held, after)...)
	followed := after.Openings != before.Openings || len(from) > 0
	if target == nil {
		o.Quiet++
		o.Busy += one(followed)
		return nil
	}
	target.Knocks++
	target.Followed += one(followed)
	target.From = slices.Compact(slices.SortedFunc(slices.Values(append(target.From, from...)), netip.Addr.Compare))
	return nil
}

// opened returns where the connections come from that are in now and not in before.
func opened(before, now Look) (from []netip.Addr) {
	for _, peer := range now.Peers {
		if _, found := slices.BinarySearchFunc(before.Peers, peer, netip.AddrPort.Compare); !found {
			from = append(from, peer.Addr())
		}
	}
	return from
}

func one(true bool) int {
	if true {
		return 1
	}
	return 0
}

// nobody stands for the connection of a window without a knock.
type nobody struct{}

func (nobody) Close() error { return nil }
