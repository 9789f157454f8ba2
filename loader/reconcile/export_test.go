package reconcile

import (
	"context"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// StepClock moves the wall clock as the engine sees it.
func StepClock(by time.Duration) {
	before := wallNow
	wallNow = func() time.Time { return before().Add(by) }
}

// FollowClock looks at the clock, as Run does every ten seconds, and for problems.
func (e *Engine) FollowClock() {
	h := e.host()
	e.mu.Lock()
	defer e.unlock()
	e.followClock(false)
	e.probe(e.observe(h))
}

// Due does what is due, as Run does every ten seconds.
func (e *Engine) Due() { e.due() }

// End is when the kernel ends the entry of prefix.
func (e *Engine) End(prefix netip.Prefix) (time.Duration, error) {
	e.mu.Lock()
	defer e.unlock()
	entry, _, err := e.enforced.Gate.Tables.Lookup(prefix)
	return time.Duration(entry.Expires), err
}

// Checkpoint makes one of what has changed since the last.
func (e *Engine) Checkpoint() error {
	e.mu.Lock()
	defer e.unlock()
	return e.lastUse()
}

// Watch probes and repairs, as Run does every ten seconds.
func (e *Engine) Watch() { e.watch() }

// Follow looks at the interfaces, as Run does when the kernel tells that all of them were
// set up anew.
func (e *Engine) Follow() {
	change := netdev.Change{SetUp: map[int]bool{}}
	for _, name := range e.enforced.Gate.Attached() {
		change.SetUp[e.interfaces.Checker.Index(name)] = true
	}
	e.follow(change)
}

// Take takes a reading over, as a follower does that Run has started.
func (e *Engine) Take(r source.Reading) error {
	_, err := e.taken(context.Background(), r)
	return err
}

// TakeLate takes a reading over that was compared before meanwhile.
func (e *Engine) TakeLate(r source.Reading, meanwhile func()) error {
	found, as := e.compare(r)
	meanwhile()
	_, err := e.takeCompared(context.Background(), r, found, as)
	return err
}

// TakePaced takes a reading over as a follower does, with what it would wait for afterwards handed to rests.
func (e *Engine) TakePaced(r source.Reading, rests func(time.Duration)) error {
	before := rest
	defer func() { rest = before }()
	rest = func(_ context.Context, long time.Duration) { rests(long) }
	return e.take(context.Background(), r)
}

// Pace is how long a follower waits after a reading that took so long.
func Pace(took time.Duration) time.Duration { return pace(took) }

// Hold keeps changes waiting, as one that takes long does, until release.
func (e *Engine) Hold() (release func()) {
	e.mu.Lock()
	return e.unlock
}

// Have is what is kept of an origin, as a follower gets it.
func (e *Engine) Have(origin policy.Origin) source.Have { return e.have(origin) }

// Followed names the origins that are followed.
func (e *Engine) Followed() (names []policy.Origin) {
	for _, s := range e.files.followed.settings {
		names = append(names, s.Origin())
	}
	return names
}
