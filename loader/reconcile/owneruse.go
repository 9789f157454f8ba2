// This file counts what became of each owner's openings. The kernel counts as long as
// its maps live; what was counted before them stands in the store.

package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/xdpallow/xdpallow/loader/compile"
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
func ownerCountsOn(kept *store.Store, tables *kernel.Tables) (c ownerCounts, begun bool, err error) {
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

// recallOwnerUse brings back what was v.Counts. The caller holds the mutex.
func (e *Engine) recallOwnerUse() (err error) {
	var begun bool
	if e.view.ownerCounts, begun, err = ownerCountsOn(e.store, e.view.gate.Tables); err != nil {
		return err
	}
	if e.savedOwners, err = e.store.OwnerUse(); err != nil || !begun {
		return err
	}
	e.bookkeep(map[string][]byte{metaOwnerCounts: e.view.ownerCounts.marshal()})
	return nil
}

// recallOwnerUse reads what was counted, for who changes nothing.
func (v *view) recallOwnerUse(kept *store.Store) error {
	given := map[string]uint16{}
	text, err := kept.Meta(metaOwners)
	if err == nil && text != nil {
		err = json.Unmarshal(text, &given)
	}
	if err != nil {
		return fmt.Errorf("read the numbers of owners: %w", err)
	}
	v.compiler.Owners = compile.NewOwnerIDs(given)
	v.ownerCounts, _, err = ownerCountsOn(kept, v.gate.Tables)
	return err
}

// forgetOwnerUse forgets what was counted for owners whose numbers are taken back.
func (e *Engine) forgetOwnerUse(gone []string) error {
	before := maps.Clone(e.view.ownerCounts.Before)
	for _, name := range gone {
		delete(before, name)
		delete(e.savedOwners, name)
	}
	e.view.ownerCounts.Before = before
	err := e.store.Apply(store.Change{Meta: map[string][]byte{
		metaOwners: e.view.compiler.Owners.Marshal(), metaOwnerCounts: e.view.ownerCounts.marshal(),
	}})
	if err == nil {
		err = e.store.SaveUse(store.Checkpoint{ForgetOwners: gone})
	}
	if err != nil {
		return fmt.Errorf("take back the numbers of %s: %w", policy.Count(len(gone), "owner", "owners"), err)
	}
	return nil
}

// Owner implements query.Usage: it is what was ever counted for an owner.
func (v *view) Owner(name string) (store.OwnerUse, error) {
	before := v.ownerCounts.Before[name]
	use := store.OwnerUse{Passed: before.Passed, Audited: before.Audited, Dropped: map[string]uint64{}, LastSeen: before.LastSeen}
	maps.Copy(use.Dropped, before.Dropped)
	var openings kernel.Openings
	if number := v.compiler.Owners.Of(name); number != 0 {
		var err error
		if openings, err = v.gate.Tables.Openings(number); err != nil {
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
	if seen := v.compiler.Clock.Seconds(openings.LastSeen); seen != nil && seen.After(use.LastSeen) {
		use.LastSeen = *seen
	}
	return use, nil
}

// keepOwnerUse saves what was counted since the last time, for after a reboot.
func (e *Engine) keepOwnerUse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.saveOwnerUse(); err != nil {
		e.noteUse(err)
	}
}

// saveOwnerUse is keepOwnerUse for who holds the mutex.
func (e *Engine) saveOwnerUse() error {
	changed := map[string]store.OwnerUse{}
	for name := range e.view.compiler.Owners.All() {
		use, err := e.view.Owner(name)
		if err != nil {
			return err
		}
		if saved, found := e.savedOwners[name]; found && sameUse(saved, use) {
			continue
		}
		changed[name] = use
	}
	if len(changed) == 0 {
		return nil
	}
	if err := e.store.SaveUse(store.Checkpoint{Owners: changed}); err != nil {
		return fmt.Errorf("save what owners were counted for: %w", err)
	}
	maps.Copy(e.savedOwners, changed)
	return nil
}

func sameUse(a, b store.OwnerUse) bool {
	return a.Passed == b.Passed && a.Audited == b.Audited && a.LastSeen.Equal(b.LastSeen) && maps.Equal(a.Dropped, b.Dropped)
}

// Owners implements the question.
func (e *Engine) Owners(context.Context) (Owners, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.view.query().Owners(e.view.Counts.Owners)
}

// Owners implements the question.
func (o Offline) Owners(context.Context) (Owners, error) {
	v, _, err := o.look()
	if err != nil {
		return Owners{}, err
	}
	defer v.gate.Close()
	return v.query().Owners(v.Counts.Owners)
}
