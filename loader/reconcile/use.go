package reconcile

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/maps"
)

// This file adds up how entries are used. The kernel counts in its live tries, which
// a publish replaces and a reboot loses; the database has what it had counted at the
// last checkpoint; in memory is only what neither has. A life is what a pair of tries
// has from publish to publish: of a record of this life, what the kernel counts now
// takes the place of what it had counted then.

// usage is what is known of the use of entries beside the kernel's own counts.
type usage struct {
	life    uint32    // number of the live tries, from 1
	tries   [2]uint32 // their ids, by which the next daemon knows them
	noted   bool      // the database knows which tries that life is
	folding uint32    // from this life on, what retired tries had counted is in folded

	folded map[netip.Prefix]counted    // what retired tries had counted since the last checkpoint
	fresh  map[netip.Prefix]store.Use  // enforced since, used so before, whatever the database says of their prefix
	gone   map[netip.Prefix]bool       // enforced no longer, which the database does not know
	left   map[netip.Prefix]*store.Use // removed by the last change, which may be rolled back; nil is as in the database
	full   bool                        // of some more the database may say nothing
	since  uint32                      // seconds of CLOCK_BOOTTIME: what was seen before is in the database
}

// counted is how an entry was used until its trie was retired.
type counted struct {
	lastSeen uint32 // seconds of CLOCK_BOOTTIME
	hits     uint64
}

func newUsage() usage {
	return usage{folded: map[netip.Prefix]counted{}, fresh: map[netip.Prefix]store.Use{}, gone: map[netip.Prefix]bool{}, left: map[netip.Prefix]*store.Use{}}
}

// metaLife is the key of the store's meta that says which tries a life is.
const metaLife = "life"

type lifeRecord struct {
	Life  uint32    `json:"life"`
	Boot  string    `json:"boot_id"`
	Tries [2]uint32 `json:"tries"`
}

// begin finds out whether the database counts on the tries that are live now.
func (u *usage) begin(kept *store.Store, tables *maps.Tables) (err error) {
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	if u.tries, err = tables.Tries(); err != nil {
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
func (u *usage) note(kept *store.Store) error {
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

// fold keeps what the kernel had counted for entries that it has no more. It is called
// after whatever may have published.
func (v *view) fold(used []maps.Entry) {
	u := &v.uses
	if tries, err := v.gate.Tables.Tries(); err == nil && tries != u.tries {
		u.life++
		u.tries, u.noted, u.full = tries, false, true
	}
	for _, e := range used {
		before := u.folded[e.Prefix]
		u.folded[e.Prefix] = counted{max(before.lastSeen, e.LastSeen), before.hits + uint64(e.Hits)}
	}
}

// followUse begins anew with what plan added, unless it takes a change back: then what
// that change removed is used as it was. What plan removed is forgotten with the next
// change, which leaves nothing to roll back.
func (v *view) followUse(plan policy.Plan, back bool, now time.Time) {
	u := &v.uses
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
		case left || back || len(plan.Added) > compile.MaxPatch:
			u.full = true
		default:
			u.fresh[e.Prefix] = store.Use{FirstEnforced: now.UTC().Truncate(time.Second)}
		}
	}
	u.leave(plan.Removed, v)
}

// leave keeps how entries that were removed had been used. Of very many it keeps what the
// last checkpoint wrote, which is a minute old and takes no memory.
func (u *usage) leave(removed []policy.Entry, v *view) {
	var prefixes []netip.Prefix
	for _, e := range removed {
		prefixes = append(prefixes, e.Prefix)
	}
	var saved map[netip.Prefix]store.Use
	exact := len(removed) <= many
	if exact {
		var err error
		saved, err = v.saved(prefixes)
		exact = err == nil
	}
	for _, prefix := range prefixes {
		u.left[prefix] = nil
		if exact {
			if use, err := v.use(prefix, saved[prefix]); err == nil {
				u.left[prefix] = &use
			}
		}
		delete(u.folded, prefix)
		delete(u.fresh, prefix)
	}
}

// use is all that is known of the use of prefix, of which saved is the record.
func (v *view) use(prefix netip.Prefix, saved store.Use) (store.Use, error) {
	u := &v.uses
	if before, fresh := u.fresh[prefix]; fresh {
		saved = before
	}
	if saved.Life >= u.folding {
		saved.Hits -= min(saved.Hits, uint64(saved.Live))
	}
	live, _, err := v.gate.Tables.Lookup(prefix)
	if err != nil {
		return saved, err
	}
	saved.Live, saved.Life = live.Hits, u.life
	retired := u.folded[prefix]
	saved.Hits += retired.hits + uint64(live.Hits)
	if seen := v.clock.Seconds(max(retired.lastSeen, live.LastSeen)); seen != nil && seen.After(saved.LastSeen) {
		saved.LastSeen = *seen
	}
	return saved, nil
}

// chunk is how many entries are looked at in one go.
const chunk = 4096

// report returns entries with their use.
func (v *view) report(entries []*policy.Entry) ([]Entry, error) {
	out := make([]Entry, 0, len(entries))
	prefixes := make([]netip.Prefix, 0, min(len(entries), chunk))
	for len(entries) > 0 {
		some := entries[:min(len(entries), chunk)]
		entries = entries[len(some):]
		prefixes = prefixes[:0]
		for _, e := range some {
			prefixes = append(prefixes, e.Prefix)
		}
		saved, err := v.saved(prefixes)
		if err != nil {
			return nil, err
		}
		for _, e := range some {
			use, err := v.use(e.Prefix, saved[e.Prefix])
			if err != nil {
				return nil, err
			}
			one := entry(*e, use)
			out = append(out, v.placed(one, e))
		}
	}
	return out, nil
}

// placed is one, which reports e, with what holds at its place in the list.
func (v *view) placed(one Entry, e *policy.Entry) Entry {
	one.Suspended = v.Policy.IsSuspended(e)
	one.Ended = !e.Until.IsZero() && !e.Until.After(v.now())
	if prefix, owner := v.Policy.SuspendedBy(e); prefix.IsValid() {
		one.SuspendedBy = prefix.String()
	} else {
		one.SuspendedBy = owner
	}
	if owner := v.Policy.OwnerOf(e); owner != e.Owner {
		one.CountsFor = owner
	}
	return one
}

// entry reports e with its use.
func entry(e policy.Entry, use store.Use) Entry {
	r := Entry{
		Prefix: e.Prefix, Owner: e.Owner, Services: e.Services, Until: some(e.Until), Note: e.Note,
		Origins: e.Origins(), Hits: use.Hits, Suspended: e.Suspended,
		LastSeen: some(use.LastSeen), FirstEnforced: some(use.FirstEnforced),
	}
	if r.Services == nil {
		r.Services = []string{}
	}
	return r
}

// some is nil for the zero time, which is "never".
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
