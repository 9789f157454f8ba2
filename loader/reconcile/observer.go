package reconcile

// This file looks at whom the gate refuses. A flood does not wait: what is read here has
// locks of its own.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/talkers"
	"github.com/xdpallow/xdpallow/maps/ring"
)

// observer is what is known of refused packets, and of the gate while it is busy.
type observer struct {
	sketch *talkers.Sketch
	log    *events.Log
	misses map[string]uint64 // near misses by owner of the daemons before this one

	ring   *ring.Reader
	reader *events.Reader // nil: there are no events

	saved   map[string]uint64 // near misses as they are on disk; of the engine's mutex
	savedAt time.Time
}

func newObserver(now time.Time) *observer {
	return &observer{sketch: talkers.New(now, talkers.Options{}), log: new(events.Log)}
}

// beginEvents has every refused packet sampled from now on: before the gate is announced,
// so that nobody is refused unseen after that. The caller holds the mutex.
func (e *Engine) beginEvents() {
	opened, err := ring.Open(e.view.gate.Tables)
	if err == nil {
		e.observer.ring = opened
		e.observer.reader, err = events.NewReader(&samples{Reader: opened, engine: e}, e.observer.sketch, e.observer.log, time.Now())
	}
	if err != nil {
		e.options.Log.Error(fmt.Sprintf("no events: %v", err))
		e.problems.note(api.Problem{Code: "events", Text: fmt.Sprintf("refused packets are counted and not shown: %v", err), Hint: "systemctl restart xdpallow"})
	}
}

// readEvents reads samples until ctx ends.
func (e *Engine) readEvents(ctx context.Context) {
	if e.observer.reader != nil {
		e.observer.reader.Run(ctx, e.options.Log)
	}
	if e.observer.ring != nil {
		_ = e.observer.ring.Close() // nothing was written
	}
}

// samples are those of the gate; it implements events.Kernel.
type samples struct {
	*ring.Reader
	engine *Engine
}

// Refused implements events.Kernel.
func (s *samples) Refused() (uint64, error) { return s.engine.view.gate.Refused() }

// SetSampling implements events.Kernel. Where somebody else has written to current it
// writes nothing: to put that right, and to count it, is another's.
func (s *samples) SetSampling(one, near uint32) error {
	tables := s.engine.view.gate.Tables
	if same, err := tables.SameCurrent(); err != nil || !same {
		return err
	}
	return tables.SetSampling(one, near)
}

// Classify implements events.Kernel.
func (s *samples) Classify(suspects []events.Event) []*talkers.Near {
	misses := make([]*talkers.Near, len(suspects))
	if len(suspects) == 0 {
		return misses
	}
	shown := &s.engine.shown.Load().asked
	used := map[netip.Prefix]*time.Time{} // when entries were last seen
	for i, suspect := range suspects {
		entry := shown.Policy.Entries.Neighbour(suspect.Source)
		if entry == nil {
			continue
		}
		if _, known := used[entry.Prefix]; !known {
			used[entry.Prefix] = shown.Entry(entry).LastSeen
		}
		misses[i] = &talkers.Near{Prefix: entry.Prefix, Owner: shown.Policy.OwnerOf(entry), LastSeen: used[entry.Prefix]}
	}
	return misses
}

const (
	metaMisses = "near_misses" // key of the store's meta
	saveEvery  = time.Minute
)

// saveMisses keeps the counts of near misses for the next daemon. A SIGKILL costs those
// of a minute. The caller holds the mutex.
func (e *Engine) saveMisses() error {
	misses := e.nearMisses()
	if maps.Equal(misses, e.observer.saved) {
		return nil
	}
	text, err := json.Marshal(misses)
	if err != nil {
		panic(err) // a map of strings to numbers always is JSON
	}
	if err := e.disk.Apply(store.Change{Meta: map[string][]byte{metaMisses: text}}); err != nil {
		return fmt.Errorf("save near misses: %w", err)
	}
	e.observer.saved, e.observer.savedAt = misses, time.Now()
	return nil
}
