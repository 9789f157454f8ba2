// This file encodes what the store keeps in order to roll back a reload.

package undo

import (
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Back is what the store keeps of a change of what is declared.
type Back struct {
	Kept uint64 `json:"kept"` // the change whose predecessor's list was kept, see store.ArchiveList
	Held Held   `json:"held"` // after it was taken back

	Followed []source.Settings `json:"followed"` // likewise; nil: not known

	// The followed origins that there are then, and the state of each whose claims come back out of
	// the list; the others are what they said last, see follow.Origins.Before.
	Origins map[policy.Origin]*store.OriginState `json:"origins"`
}

// Marshal is b for the store.
func (b Back) Marshal() []byte { return marshal(b) }

// Archived are the origins whose claims come back out of the list.
func (b Back) Archived() (origins []policy.Origin) {
	for origin, state := range b.Origins {
		if state != nil {
			origins = append(origins, origin)
		}
	}
	return origins
}

// Lists are the origins of b that come back, with all that list says they claim, and those of now
// that b has not.
func (b Back) Lists(list store.Effective, now follow.Origins) (back []store.Followed, forget []policy.Origin) {
	for _, origin := range b.Archived() {
		one := store.Followed{Origin: origin, State: *b.Origins[origin]}
		for _, claim := range list.Claims {
			if claim.Origin == origin {
				one.Put = append(one.Put, *claim)
			}
		}
		back = append(back, one)
	}
	for origin := range now {
		if _, stays := b.Origins[origin]; !stays {
			forget = append(forget, origin)
		}
	}
	return back, forget
}

// Join is the edit that does all of edits, no two of which are of one origin.
func Join(edits []policy.Edit) (all policy.Edit) {
	for _, edit := range edits {
		all.Remove, all.Put = append(all.Remove, edit.Remove...), append(all.Put, edit.Put...)
	}
	return all
}
