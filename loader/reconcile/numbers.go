// This file gives owners the numbers by which the kernel knows them. There is room for
// some thousands, and an owner who has gone gives his back when it is wanted.

package reconcile

import (
	"encoding/json"
	"fmt"
	"maps"

	kernel "github.com/xdpallow/xdpallow/maps"
)

// numbers are those of the owners. An owner keeps his as long as he has an entry, a
// suspension or a limit, and most often longer.
type numbers struct {
	of    map[string]uint16
	free  []uint16 // some that nobody has, the lowest last
	dirty bool     // not on disk yet
}

func newNumbers(of map[string]uint16) *numbers {
	maps.DeleteFunc(of, func(_ string, n uint16) bool { return n == 0 || n > kernel.MaxOwners })
	return &numbers{of: of}
}

// get is the number of an owner who was given one; nobody has 0.
func (n *numbers) get(owner string) (uint16, error) {
	number, found := n.of[owner]
	if owner != "" && !found {
		return 0, fmt.Errorf("owner %s has no number", owner)
	}
	return number, nil
}

// give gives owner a number. There must be room.
func (n *numbers) give(owner string) uint16 {
	if len(n.free) == 0 {
		taken := make([]bool, kernel.MaxOwners+1)
		for _, number := range n.of {
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
	n.of[owner], n.free, n.dirty = number, n.free[:last], true
	return number
}

// release takes the numbers of those whom keep does not name, and returns their names.
func (n *numbers) release(keep map[string]bool) (gone []string) {
	for owner := range n.of {
		if !keep[owner] {
			gone = append(gone, owner)
			delete(n.of, owner)
		}
	}
	n.free, n.dirty = nil, n.dirty || len(gone) > 0
	return gone
}

func (n *numbers) marshal() []byte {
	text, err := json.Marshal(n.of)
	if err != nil {
		panic(err) // a map of strings to numbers always is JSON
	}
	return text
}
