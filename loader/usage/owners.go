package usage

// This file counts what became of each owner's openings. The kernel counts as long as
// its maps live; what was counted before them stands in the store.

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// ownerCounts are what was counted before the kernel's counters began. Total is this and
// what they say, so while they live it does not matter what was saved last.
type ownerCounts struct {
	BootID string                    `json:"boot_id"`
	MapID  uint32                    `json:"map_id"`
	Before map[string]store.OwnerUse `json:"before"`
}

// metaOwnerCounts is the key of ownerCounts in the store's meta.
const metaOwnerCounts = "owners_before"

// ownerCountsOn are those for the counters that tables have now: as it stands in kept, or
// when those are others, what was saved of the last ones.
func ownerCountsOn(kept *store.Store, tables Tables) (c ownerCounts, begun bool, err error) {
	now := ownerCounts{Before: map[string]store.OwnerUse{}}
	if now.BootID, err = store.BootID(); err != nil {
		return now, false, err
	}
	if now.MapID, err = tables.CountersID(); err != nil {
		return now, false, err
	}
	text, err := kept.Meta(metaOwnerCounts)
	if err == nil && text != nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return now, false, fmt.Errorf("read what owners were counted for: %w", err)
	}
	if c.BootID == now.BootID && c.MapID == now.MapID && c.Before != nil {
		return c, false, nil
	}
	now.Before, err = kept.OwnerUse()
	return now, true, err
}

func (c ownerCounts) marshal() []byte {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // names, numbers and times always are JSON
	}
	return text
}

// BeginOwners brings back what was counted for owners. What it returns is to be written to
// the meta of kept by who may.
func (u *Usage) BeginOwners(kept *store.Store) (meta map[string][]byte, err error) {
	var begun bool
	if u.owners, begun, err = ownerCountsOn(kept, u.tables); err != nil {
		return nil, err
	}
	if u.savedOwners, err = kept.OwnerUse(); err != nil || !begun {
		return nil, err
	}
	return map[string][]byte{metaOwnerCounts: u.owners.marshal()}, nil
}

// ForgetOwners forgets what was counted for owners whose ids are taken back. It writes meta
// with that, before any other owner can have such an id.
func (u *Usage) ForgetOwners(kept *store.Store, gone []string, meta map[string][]byte) error {
	before := maps.Clone(u.owners.Before)
	for _, name := range gone {
		delete(before, name)
		delete(u.savedOwners, name)
	}
	u.mu.Lock()
	u.owners.Before = before
	u.mu.Unlock()
	meta[metaOwnerCounts] = u.owners.marshal()
	err := kept.Apply(store.Change{Meta: meta})
	if err == nil {
		err = kept.SaveUse(store.Checkpoint{ForgetOwners: gone})
	}
	if err != nil {
		return fmt.Errorf("take back the numbers of %s: %w", policy.Count(len(gone), "owner", "owners"), err)
	}
	return nil
}

// Owner returns what was ever counted for an owner; zeros for one who is not known.
func (r Reader) Owner(name string) (store.OwnerUse, error) {
	u := r.u
	u.mu.RLock()
	before := u.owners.Before[name]
	u.mu.RUnlock()
	use := store.OwnerUse{Passed: before.Passed, Audited: before.Audited, Dropped: map[string]uint64{}, LastSeen: before.LastSeen}
	maps.Copy(use.Dropped, before.Dropped)
	var openings kernel.Openings
	if number := r.owners.Of(name); number != 0 {
		var err error
		if openings, err = u.tables.Openings(number); err != nil {
			return use, fmt.Errorf("owner %s: %w", name, err)
		}
	}
	use.Passed += openings.Passed
	for reason, n := range openings.Dropped {
		use.Dropped[reason.String()] += n
	}
	for _, n := range openings.Audited {
		use.Audited += n
	}
	if seen := r.clock.Seconds(openings.LastSeen); seen != nil && seen.After(use.LastSeen) {
		use.LastSeen = *seen
	}
	return use, nil
}

// SaveOwners writes to kept what was counted for owners since the last time, for after a
// reboot.
func (u *Usage) SaveOwners(kept *store.Store) error {
	changed := map[string]store.OwnerUse{}
	for name := range u.compiler.Owners.All() {
		use, err := u.Reader().Owner(name)
		if err != nil {
			return err
		}
		if saved, found := u.savedOwners[name]; found && sameUse(saved, use) {
			continue
		}
		changed[name] = use
	}
	if len(changed) == 0 {
		return nil
	}
	if err := kept.SaveUse(store.Checkpoint{Owners: changed}); err != nil {
		return fmt.Errorf("save what owners were counted for: %w", err)
	}
	maps.Copy(u.savedOwners, changed)
	return nil
}

func sameUse(a, b store.OwnerUse) bool {
	return a.Passed == b.Passed && a.Audited == b.Audited && a.LastSeen.Equal(b.LastSeen) && maps.Equal(a.Dropped, b.Dropped)
}
