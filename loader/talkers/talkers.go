// Package talkers finds the sources of what the gate drops. It takes samples, each of which
// stands for many packets, and keeps the heaviest addresses and prefixes of the last minute
// and the near misses of the last day. Its memory has a bound that no choice of sources
// moves: a flood from random addresses can neither fill it nor push out a heavy source. It
// knows no kernel and no clock.
package talkers

import (
	"net/netip"
	"sync"
	"time"
)

// Sample is one packet that was looked at, and the packets it stands for.
type Sample struct {
	Time   time.Time // one before that of the last sample is read as that
	Source netip.Addr
	Reason string
	Weight uint64 // how many packets it stands for, itself among them; 0 is read as 1
	Bytes  uint32 // of this packet
	Near   *Near  // nil when it is no near miss
}

// Near is the listed prefix that a near miss is nearest to.
type Near struct {
	Prefix   netip.Prefix `json:"prefix"`
	Owner    string       `json:"owner"`     // of Prefix, "" for none
	LastSeen *time.Time   `json:"last_seen"` // when a source in Prefix connected last; nil is never
}

// Options bound a Sketch. The zero value is what the daemon runs with.
type Options struct {
	// Capacity is the promise: a source that sends more than one part in Capacity of all
	// packets of the window is found. 0 is 1024.
	Capacity int
	// Window is how far back rates look. 0 is a minute: one sample in fifty of
	// 1,000 a second is then known to 3 %.
	Window time.Duration
	// Misses is how many near misses are kept, and OwnerMisses how many of one owner, so
	// that noise beside one customer does not hide another. 0 is 4096 and 64.
	Misses, OwnerMisses int
}

// subwindowsPerWindow is how finely the window slides.
const subwindowsPerWindow = 6

func (o Options) withDefaults() Options {
	if o.Capacity <= 0 {
		o.Capacity = 1024
	}
	if o.Window <= 0 {
		o.Window = time.Minute
	}
	if o.Misses <= 0 {
		o.Misses = 4096
	}
	if o.OwnerMisses <= 0 {
		o.OwnerMisses = 64
	}
	return o
}

// Sketch counts samples. It is safe for use by several goroutines.
type Sketch struct {
	options Options
	start   time.Time

	mu         sync.Mutex
	now        time.Duration // since start: the latest time it was told
	subwindows []*subwindow  // of the window, the oldest first; never none
	free       []*subwindow  // of no time yet, or of one that left the window
	misses     misses
	sums       map[netip.Prefix]uint64 // of all subwindows, only while a Snapshot is made
}

// New returns a Sketch whose time begins at start. It allocates at once what a flood needs:
// a daemon that grows when the attack comes is killed when the attack comes.
func New(start time.Time, o Options) *Sketch {
	o = o.withDefaults()
	room := 2 * o.Capacity
	s := &Sketch{options: o, start: start, misses: newMisses(o)}
	for range subwindowsPerWindow + 1 { // one slides in while one slides out
		s.free = append(s.free, newSubwindow(room))
	}
	s.sums = make(map[netip.Prefix]uint64, len(s.free)*room)
	s.subwindows = []*subwindow{s.vacant()}
	return s
}

// Add counts one sample. One without a valid source, because the program read none, counts
// in the totals only.
func (s *Sketch) Add(sample Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(sample.Time)
	sample.Weight = max(sample.Weight, 1)
	sample.Source = sample.Source.WithZone("")
	s.subwindows[len(s.subwindows)-1].add(sample, s.now)
	if sample.Near != nil && sample.Source.IsValid() {
		s.misses.add(sample, s.start.Add(s.now))
	}
}

// Lose counts n samples that the kernel took and that never arrived.
func (s *Sketch) Lose(at time.Time, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(at)
	s.subwindows[len(s.subwindows)-1].lost += n
}

// NearMisses returns how many near misses there were, by owner; "" is no owner. The numbers
// never fall, also when sources are forgotten.
func (s *Sketch) NearMisses() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals := make(map[string]uint64, len(s.misses.owners))
	for owner, m := range s.misses.owners {
		totals[owner] = m.total
	}
	return totals
}

// advance moves the time, and the window with it, to at if that is later.
func (s *Sketch) advance(at time.Time) {
	s.now = max(s.now, at.Sub(s.start))
	length := s.options.Window / subwindowsPerWindow
	begin := s.now.Truncate(length)
	if begin == s.subwindows[len(s.subwindows)-1].start {
		return
	}
	for len(s.subwindows) > 0 && s.subwindows[0].start < begin-s.options.Window {
		s.free = append(s.free, s.subwindows[0])
		s.subwindows = s.subwindows[1:]
	}
	next := s.vacant()
	next.start = begin
	s.subwindows = append(s.subwindows, next)
	s.misses.forget(s.start.Add(s.now))
}

// vacant returns an empty subwindow. There always is one: New made one more than the window
// and the one that slides in need.
func (s *Sketch) vacant() *subwindow {
	last := len(s.free) - 1
	p := s.free[last]
	s.free = s.free[:last]
	p.reset()
	return p
}

// from is when the window begins: it is Window long and up to a subwindow more, and
// shorter only while the sketch is young.
func (s *Sketch) from() time.Duration {
	return max(0, s.now.Truncate(s.options.Window/subwindowsPerWindow)-s.options.Window)
}
