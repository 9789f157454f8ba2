// Package observer watches whom the gate refuses: it reads samples of refused packets, and says
// who sends them and beside whose prefixes they are. A flood does not wait: it has locks of its
// own, and none of the engine.
package observer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
	"github.com/xdpallow/xdpallow/loader/talkers"
	"github.com/xdpallow/xdpallow/maps/ring"
)

// Observer is what is known of refused packets. All but Begin, Load and Save may be called from
// several goroutines.
type Observer struct {
	Talkers *talkers.Sketch // who sends most of what is refused
	Log     events.Log      // the last packets that were refused

	before map[string]uint64 // near misses by owner of the daemons before this one

	ring   *ring.Reader
	reader *events.Reader // nil: there are no events

	saved   map[string]uint64 // near misses as they are on disk
	savedAt time.Time
}

// New returns an observer that has seen nothing at now.
func New(now time.Time) *Observer {
	return &Observer{Talkers: talkers.New(now, talkers.Options{})}
}

// Begin has every packet that gate refuses sampled from now on, for Run. view is what was last
// enforced; it is asked whenever packets are judged. The error is that the ring cannot be read.
func (o *Observer) Begin(gate *loader.Gate, view func() *query.View) (err error) {
	if o.ring, err = ring.Open(gate.Tables); err == nil {
		o.reader, err = events.NewReader(&samples{Reader: o.ring, gate: gate, view: view}, o.Talkers, &o.Log, time.Now())
	}
	return err
}

// Run reads samples until ctx ends.
func (o *Observer) Run(ctx context.Context, log *slog.Logger) {
	if o.reader != nil {
		o.reader.Run(ctx, log)
	}
	if o.ring != nil {
		_ = o.ring.Close() // nothing was written
	}
}

// samples are those of the gate; it implements events.Kernel.
type samples struct {
	*ring.Reader
	gate *loader.Gate
	view func() *query.View
}

// Refused implements events.Kernel.
func (s *samples) Refused() (uint64, error) { return s.gate.Refused() }

// SetSampling implements events.Kernel. Where somebody else has written to current it
// writes nothing: to put that right, and to count it, is another's.
func (s *samples) SetSampling(one, near uint32) error {
	tables := s.gate.Tables
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
	view := s.view()
	used := map[netip.Prefix]*time.Time{} // when entries were last seen
	for i, suspect := range suspects {
		entry := view.Policy.Entries.Neighbour(suspect.Source)
		if entry == nil {
			continue
		}
		if _, known := used[entry.Prefix]; !known {
			used[entry.Prefix] = view.Entry(entry).LastSeen
		}
		misses[i] = &talkers.Near{Prefix: entry.Prefix, Owner: view.Policy.OwnerOf(entry), LastSeen: used[entry.Prefix]}
	}
	return misses
}

// metaMisses is the key of the store's meta under which near misses are kept.
const metaMisses = "near_misses"

// Load reads the near misses of the daemons before this one.
func (o *Observer) Load(kept *store.Store) error { return stored.Value(kept, metaMisses, &o.before) }

// SaveDue saves near misses once a minute: a SIGKILL costs those of a minute.
func (o *Observer) SaveDue(kept *store.Store) error {
	if time.Since(o.savedAt) <= time.Minute {
		return nil
	}
	return o.Save(kept)
}

// Save keeps the counts of near misses for the next daemon.
func (o *Observer) Save(kept *store.Store) error {
	misses := o.nearMisses()
	if maps.Equal(misses, o.saved) {
		return nil
	}
	text, err := json.Marshal(misses)
	if err != nil {
		panic(err) // a map of strings to numbers always is JSON
	}
	if err := kept.Apply(store.Change{Meta: map[string][]byte{metaMisses: text}}); err != nil {
		return fmt.Errorf("save near misses: %w", err)
	}
	o.saved, o.savedAt = misses, time.Now()
	return nil
}

// WithMisses adds what each of owners missed, and whoever else did: entries without an
// owner, and owners that are gone.
func (o *Observer) WithMisses(owners []api.Owner) []api.Owner {
	misses := o.nearMisses()
	all := slices.Clone(owners)
	for i := range all {
		all[i].NearMisses = misses[all[i].Owner]
		delete(misses, all[i].Owner)
	}
	for name, n := range misses {
		all = append(all, api.Owner{Owner: name, Dropped: map[string]uint64{}, NearMisses: n})
	}
	slices.SortFunc(all, func(a, b api.Owner) int { return cmp.Compare(a.Owner, b.Owner) })
	return all
}

// nearMisses is how many dropped openings there were beside the prefixes of each owner,
// "" for none. They never go back.
func (o *Observer) nearMisses() map[string]uint64 {
	misses := o.Talkers.NearMisses()
	for name, n := range o.before {
		misses[name] += n
	}
	return misses
}

// Events calls fn for the last n events, the oldest first, and with follow for those to
// come, until ctx ends or fn fails. It returns fn's error; the end of ctx is no error.
func (o *Observer) Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error {
	if follow {
		return o.Log.Follow(ctx, n, fn)
	}
	for _, event := range o.Log.Last(n) {
		if err := fn(event); err != nil {
			return err
		}
	}
	return nil
}
