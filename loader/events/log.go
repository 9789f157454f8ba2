package events

// This file remembers the last events, and hands new ones to who follows.

import (
	"context"
	"sync"
)

const (
	// kept is how many events are remembered: the last seconds of a flood, or years of
	// quiet.
	kept = 4096
	// late is how many events a follower may be behind before he loses some.
	late = 2 * Budget
)

// Log is the last events. It is safe for use by several goroutines.
type Log struct {
	mu        sync.Mutex
	ring      []Event // full once it has kept
	next      int     // where the next one goes, and the oldest is
	lost      uint64  // since the last event
	total     uint64  // that were lost in all
	followers map[*follower]struct{}
}

type follower struct {
	events chan Event
	lost   uint64 // since the last one that it took
}

// add takes events in, of which the first comes after others were lost.
func (l *Log) add(events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		e.Lost, l.lost = l.lost, 0
		if len(l.ring) < kept {
			l.ring = append(l.ring, e)
		} else {
			l.ring[l.next] = e
			l.next = (l.next + 1) % kept
		}
		for f := range l.followers {
			f.give(e)
		}
	}
}

func (f *follower) give(e Event) {
	e.Lost += f.lost
	select {
	case f.events <- e:
		f.lost = 0
	default:
		f.lost = e.Lost + 1
	}
}

// lose notes that n events do not arrive.
func (l *Log) lose(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += n
	l.total += n
}

// Lost is how many samples never became an event that anybody could read.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Last returns the last n events there are, the oldest first.
func (l *Log) Last(n int) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last(n)
}

func (l *Log) last(n int) []Event {
	n = min(max(n, 0), len(l.ring))
	out := make([]Event, n)
	for i := range out {
		out[i] = l.ring[(l.next+len(l.ring)-n+i)%len(l.ring)]
	}
	return out
}

// Follow calls fn for the last n events and for all that come, until ctx ends, which is
// no error, or fn fails.
func (l *Log) Follow(ctx context.Context, n int, fn func(Event) error) error {
	f := &follower{events: make(chan Event, late)}
	l.mu.Lock()
	last := l.last(n)
	if l.followers == nil {
		l.followers = map[*follower]struct{}{}
	}
	l.followers[f] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.followers, f)
		l.mu.Unlock()
	}()
	for _, e := range last {
		if err := fn(e); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-f.events:
			if err := fn(e); err != nil {
				return err
			}
		}
	}
}
