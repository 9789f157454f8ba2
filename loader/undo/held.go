// Package undo says how a change of what is declared is taken back. What the CLI made is in
// the store; what a reload read is in the list that it replaced, and is held against the
// files, which are not ours to write, until they are read again.
package undo

import (
	"encoding/json"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Held are files that say something else than what is enforced.
type Held struct {
	Generation uint64          `json:"generation"` // whose content is enforced
	Origins    []policy.Origin `json:"origins"`
}

// Marshal is h for the store; nil is nothing held.
func (h Held) Marshal() []byte {
	if len(h.Origins) == 0 {
		return nil
	}
	return marshal(h)
}

// Back is what the store keeps of a change of what is declared.
type Back struct {
	Kept uint64 `json:"kept"` // the change whose predecessor's list was kept, see store.ArchiveList
	Held Held   `json:"held"` // after it was taken back
}

// Marshal is b for the store.
func (b Back) Marshal() []byte { return marshal(b) }

func marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers, strings and lists of them always are JSON
	}
	return text
}
