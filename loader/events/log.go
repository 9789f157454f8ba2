package events

// This file remembers the last events, and passes new ones on to those who follow.

import (
	"context"
	"sync"
)

const (
	// ringSize is how many events are remembered: the last seconds of a flood, or years of
	// quiet.
	ringSize = 4096
	// backlog is how many events a follower may be behind before he loses some.
	backlog = 2 * Budget
)

// Log is the last events. It is safe for use by several goroutines.
type Log struct {
	mu        sync.Mutex
	ring      []Event // full at ringSize
	next      int     // where the next one goes, and the oldest is
	lost      uint64  // since the last event
	total     uint64  // that were lost in all
	followers map[*follower]struct{}
}

type follower struct {
	events chan Event
	lost   uint64 // since the last one that it took
}

// Add remembers an event that no packet made, and passes it on.
func (l *Log) Add(e Event) { l.add([]Event{e}) }

// add remembers events and passes them on. The first one says how many were lost before it.
func (l *Log) add(events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		e.Lost, l.lost = l.lost, 0
		if len(l.ring) < ringSize {
			l.ring = append(l.ring, e)
		} else {
			l.ring[l.next] = e
			l.next = (l.next + 1) % ringSize
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

// lose counts n events that nobody will see.
func (l *Log) lose(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += n
	l.total += n
}

// Lost returns how many samples never became an event that anybody could read.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Last returns the last n events, or as many as there are, the oldest first. The caller owns
// the slice.
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

// Follow calls fn for the last n events and for each that comes, until ctx ends or fn fails.
// It returns fn's error; the end of ctx is no error.
func (l *Log) Follow(ctx context.Context, n int, fn func(Event) error) error {
	f := &follower{events: make(chan Event, backlog)}
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
