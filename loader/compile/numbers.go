// This file gives owners the numbers by which the kernel knows them. There is room for
// some thousands, and an owner who has gone gives his back when it is wanted.

package compile

import (
	"encoding/json"
	"fmt"
	"maps"

	kernel "github.com/xdpallow/xdpallow/maps"
)

// numbers are those of the owners. An owner keeps his as long as he has an entry, a
// suspension or a limit, and most often longer.
type OwnerIDs struct {
	Of    map[string]uint16
	free  []uint16 // some that nobody has, the lowest last
	Dirty bool     // not on disk yet
}

func NewOwnerIDs(of map[string]uint16) *OwnerIDs {
	maps.DeleteFunc(of, func(_ string, n uint16) bool { return n == 0 || n > kernel.MaxOwners })
	return &OwnerIDs{Of: of}
}

// get is the number of an owner who was given one; nobody has 0.
func (n *OwnerIDs) Get(owner string) (uint16, error) {
	number, found := n.Of[owner]
	if owner != "" && !found {
		return 0, fmt.Errorf("owner %s has no number", owner)
	}
	return number, nil
}

// give gives owner a number. There must be room.
func (n *OwnerIDs) Give(owner string) uint16 {
	if len(n.free) == 0 {
		taken := make([]bool, kernel.MaxOwners+1)
		for _, number := range n.Of {
			taken[number] = true
		}
		for number := kernel.MaxOwners; number > 0; number-- {
			if !taken[number] {
				n.free = append(n.free, uint16(number))
			}
		}
	}
	last := len(n.free) - 1
	number := n.free[last]
	n.Of[owner], n.free, n.Dirty = number, n.free[:last], true
	return number
}

// release takes the numbers of those whom keep does not name, and returns their names.
func (n *OwnerIDs) Release(keep map[string]bool) (gone []string) {
	for owner := range n.Of {
		if !keep[owner] {
			gone = append(gone, owner)
			delete(n.Of, owner)
		}
	}
	n.free, n.Dirty = nil, n.Dirty || len(gone) > 0
	return gone
}

func (n *OwnerIDs) Marshal() []byte {
	text, err := json.Marshal(n.Of)
	if err != nil {
		panic(err) // a map of strings to numbers always is JSON
	}
	return text
}
