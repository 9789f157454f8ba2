// Package usage adds up how entries and owners are used, over publishes, restarts and reboots.
//
// The kernel counts in its live tries, which a publish replaces and a reboot loses; the
// database has what it had counted at the last checkpoint; in memory is only what neither has.
// A life is what a pair of tries has from publish to publish: of a record of this life, what
// the kernel counts now takes the place of what it had counted then.
package usage

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/maps"
)

// Usage is what is known of the use of entries and owners beside the kernel's own counts.
// One goroutine changes it at a time; beside it many may ask what Reader returns.
type Usage struct {
	tables   Tables
	compiler *compile.Compiler // its clock and owner ids are those that the kernel counts by
	saved    Saved

	mu sync.RWMutex // of what is below, and of the use in the database, for those who read beside the one who changes

	life    uint32    // number of the live tries, from 1
	tries   [2]uint32 // their ids, by which the next daemon knows them
	noted   bool      // the database knows which tries that life is
	folding uint32    // from this life on, what retired tries had counted is in retired

	retired map[netip.Prefix]counted    // what retired tries had counted since the last checkpoint
	fresh   map[netip.Prefix]store.Use  // enforced since, used so before, whatever the database says of their prefix
	gone    map[netip.Prefix]bool       // enforced no longer, which the database does not know
	left    map[netip.Prefix]*store.Use // removed by the last change, which may be rolled back; nil is as in the database
	full    bool                        // of some more the database may say nothing
	since   uint32                      // seconds of CLOCK_BOOTTIME: what was seen before is in the database

	owners      ownerCounts
	savedOwners map[string]store.OwnerUse // what is on disk of owners
}

// Tables are what the kernel counts in. *maps.Tables implements it.
type Tables interface {
	Lookup(netip.Prefix) (maps.Entry, bool, error)
	Use(netip.Prefix) (hits uint64, lastSeen uint32, err error)
	Release() error
	Tries() (ids [2]uint32, err error)
	Openings(owner uint16) (maps.Openings, error)
	CountersID() (uint32, error)
}

// Saved returns what the database knows of prefixes. It may know of others, too.
type Saved func(prefixes []netip.Prefix) (map[netip.Prefix]store.Use, error)

// counted is how an entry was used until its trie was retired.
type counted struct {
	lastSeen uint32 // seconds of CLOCK_BOOTTIME
	hits     uint64
}

// New returns the usage of what tables have now, before anything is brought back.
func New(tables Tables, compiler *compile.Compiler, saved Saved) *Usage {
	return &Usage{
		tables: tables, compiler: compiler, saved: saved,
		retired: map[netip.Prefix]counted{}, fresh: map[netip.Prefix]store.Use{}, gone: map[netip.Prefix]bool{}, left: map[netip.Prefix]*store.Use{},
	}
}

// metaLife is the key of the store's meta that says which tries a life is.
const metaLife = "life"

type lifeRecord struct {
	Life  uint32    `json:"life"`
	Boot  string    `json:"boot_id"`
	Tries [2]uint32 `json:"tries"`
}

// Begin finds out whether the database counts on the tries that are live now. It writes
// nothing.
func (u *Usage) Begin(kept *store.Store) (err error) {
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	if u.tries, err = u.tables.Tries(); err != nil {
		return err
	}
	var last lifeRecord
	text, err := kept.Meta(metaLife)
	if err == nil && text != nil {
		err = json.Unmarshal(text, &last)
	}
	if err != nil {
		return fmt.Errorf("read which tries were live: %w", err)
	}
	u.life, u.full = last.Life, true
	if u.noted = last.Life > 0 && last.Boot == boot && last.Tries == u.tries; !u.noted {
		u.life++
	}
	u.folding = u.life
	return nil
}

// note tells the database which tries this life is, before any record counts on it.
func (u *Usage) note(kept *store.Store) error {
	if u.noted {
		return nil
	}
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	text, err := json.Marshal(lifeRecord{u.life, boot, u.tries})
	if err == nil {
		err = kept.Apply(store.Change{Meta: map[string][]byte{metaLife: text}})
	}
	u.noted = err == nil
	return err
}

// AddRetired keeps what the kernel had counted for entries that it has no more. It is to be
// called after whatever may have published, also where that failed.
func (u *Usage) AddRetired(used []maps.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.tables.Release() // of what is in used; fails only where a handle was closed before
	if tries, err := u.tables.Tries(); err == nil && tries != u.tries {
		u.life++
		u.tries, u.noted, u.full = tries, false, true
	}
	for _, e := range used {
		before := u.retired[e.Prefix]
		u.retired[e.Prefix] = counted{max(before.lastSeen, e.LastSeen), before.hits + uint64(e.Hits)}
	}
}

// Follow begins anew with what plan added, unless it takes a change back: then what
// that change removed is used as it was. What plan removed is forgotten with the next
// change, which leaves nothing to roll back.
func (u *Usage) Follow(plan policy.Plan, back bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !back && len(plan.Added)+len(plan.Removed) > 0 {
		for prefix := range u.left {
			u.gone[prefix] = true
		}
		clear(u.left)
	}
	for _, e := range plan.Added {
		use, left := u.left[e.Prefix]
		delete(u.left, e.Prefix)
		switch {
		case use != nil:
			u.fresh[e.Prefix] = *use
		case left || back || len(plan.Added) > mostLeft:
			u.full = true
		default:
			u.fresh[e.Prefix] = store.Use{FirstEnforced: now.UTC().Truncate(time.Second)}
		}
	}
	u.leave(plan.Removed)
}

// mostLeft is of how many entries that were added or removed together the use is kept in memory.
const mostLeft = 10_000

// leave keeps how entries that were removed had been used. Of very many it keeps what the
// last checkpoint wrote, which is a minute old and takes no memory.
func (u *Usage) leave(removed []policy.Entry) {
	var prefixes []netip.Prefix
	for _, e := range removed {
		prefixes = append(prefixes, e.Prefix)
	}
	var saved map[netip.Prefix]store.Use
	exact := len(removed) <= mostLeft
	if exact {
		var err error
		saved, err = u.saved(prefixes)
		exact = err == nil
	}
	for _, prefix := range prefixes {
		u.left[prefix] = nil
		if exact {
			if use, err := u.use(prefix, saved[prefix], u.compiler.Clock, nil); err == nil {
				u.left[prefix] = &use
			}
		}
		delete(u.retired, prefix)
		delete(u.fresh, prefix)
	}
}

// use is all that is known of the use of prefix, of which saved is the record, without what the
// kernel counted since if enough says so. The caller holds the mutex, as he did when he read saved.
func (u *Usage) use(prefix netip.Prefix, saved store.Use, clock compile.Clock, enough func(store.Use) bool) (store.Use, error) {
	if before, fresh := u.fresh[prefix]; fresh {
		saved = before
	}
	if enough != nil && enough(saved) {
		return saved, nil
	}
	if saved.Life >= u.folding {
		saved.Hits -= min(saved.Hits, uint64(saved.Live))
	}
	hits, lastSeen, err := u.tables.Use(prefix)
	if err != nil {
		return saved, err
	}
	saved.Live, saved.Life = uint32(hits), u.life
	retired := u.retired[prefix]
	saved.Hits += retired.hits + hits
	if seen := clock.Seconds(max(retired.lastSeen, lastSeen)); seen != nil && seen.After(saved.LastSeen) {
		saved.LastSeen = *seen
	}
	return saved, nil
}

// Reader tells how entries and owners were used, by the clock and the owner ids of when it was
// made. Many may ask it, beside the one who changes the usage. It implements query.Usage.
type Reader struct {
	u      *Usage
	clock  compile.Clock
	owners compile.OwnerIDs
}

// Reader returns one by what holds now.
func (u *Usage) Reader() Reader { return Reader{u, u.compiler.Clock, u.compiler.Owners} }

// Of returns how each of prefixes was used since it was first enforced, in their order. If enough
// says so of what is known already, the kernel is not asked, who may know of a later use; nil never
// does.
func (r Reader) Of(prefixes []netip.Prefix, enough func(store.Use) bool) ([]store.Use, error) {
	u := r.u
	u.mu.RLock()
	defer u.mu.RUnlock()
	saved, err := u.saved(prefixes)
	if err != nil {
		return nil, err
	}
	used := make([]store.Use, len(prefixes))
	for i, prefix := range prefixes {
		if used[i], err = u.use(prefix, saved[prefix], r.clock, enough); err != nil {
			return nil, err
		}
	}
	return used, nil
}
