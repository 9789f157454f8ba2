// This file gives owners the ids by which the kernel knows them. There is room for some
// thousands, and an owner who has gone gives his back when it is wanted.

package compile

import (
	"encoding/json"
	"iter"
	"maps"

	kernel "github.com/xdpallow/xdpallow/maps"
)

// OwnerIDs are the ids of the owners. An owner keeps his as long as he has an entry, a
// suspension or a limit, and most often longer. They do not change: who is given one is so
// in others.
type OwnerIDs struct {
	ids     map[string]uint16
	Unsaved bool // not on disk yet
}

// NewOwnerIDs are ids as Marshal wrote them, without those that the kernel has no room for.
func NewOwnerIDs(ids map[string]uint16) OwnerIDs {
	maps.DeleteFunc(ids, func(_ string, id uint16) bool { return id == 0 || int(id) > kernel.MaxOwners })
	return OwnerIDs{ids: ids}
}

// Of is the id of owner; 0 is none.
func (o OwnerIDs) Of(owner string) uint16 { return o.ids[owner] }

// Len counts the owners who have one.
func (o OwnerIDs) Len() int { return len(o.ids) }

// All yields the owners who have one.
func (o OwnerIDs) All() iter.Seq2[string, uint16] { return maps.All(o.ids) }

// Missing are those of names who have none; nobody, who is "", needs none.
func (o OwnerIDs) Missing(names map[string]bool) (missing []string) {
	for name := range names {
		if name != "" && o.ids[name] == 0 {
			missing = append(missing, name)
		}
	}
	return missing
}

// With gives owners, who have none, the lowest ids that are free. There must be room.
func (o OwnerIDs) With(owners []string) OwnerIDs {
	if len(owners) == 0 {
		return o
	}
	ids := make(map[string]uint16, len(o.ids)+len(owners))
	taken := make([]bool, kernel.MaxOwners+1)
	for owner, id := range o.ids {
		ids[owner], taken[id] = id, true
	}
	id := uint16(1)
	for _, owner := range owners {
		for taken[id] {
			id++
		}
		ids[owner], taken[id] = id, true
	}
	return OwnerIDs{ids, true}
}

// Without takes the ids of those whom keep does not name, and returns their names.
func (o OwnerIDs) Without(keep map[string]bool) (left OwnerIDs, gone []string) {
	ids := maps.Clone(o.ids)
	for owner := range o.ids {
		if !keep[owner] {
			gone = append(gone, owner)
			delete(ids, owner)
		}
	}
	return OwnerIDs{ids, o.Unsaved || len(gone) > 0}, gone
}

// Marshal is o for the store.
func (o OwnerIDs) Marshal() []byte {
	text, err := json.Marshal(o.ids)
	if err != nil {
		panic(err) // a map of strings to numbers always is JSON
	}
	return text
}
