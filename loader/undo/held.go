// Package undo says how a change of what is declared is taken back. What the CLI made is in
// the store; what a reload read is in the list that it replaced, and is held against the
// files, which are not ours to write, until they are read again.
package undo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
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

// Holds reports whether a start must not take over what origin says: it was rolled back, or,
// while a change waits for its confirmation, it may yet be.
func (h Held) Holds(origin policy.Origin, waits bool) bool {
	return origin.IsFile() && (waits || slices.Contains(h.Origins, origin))
}

// Problems name the files that are held.
func (h Held) Problems() (problems []api.Problem) {
	for _, origin := range h.Origins {
		problems = append(problems, api.Problem{
			Code: "held", Subject: string(origin),
			Text: fmt.Sprintf("was rolled back: its content of generation %d is enforced, whatever it says now, until it is read again", h.Generation),
			Hint: "xdpallow reload",
		})
	}
	return problems
}

// String is for the log, and ends with the command that ends it; "" is nothing held.
func (h Held) String() string {
	if len(h.Origins) == 0 {
		return ""
	}
	var names []string
	for _, origin := range h.Origins {
		names = append(names, string(origin))
	}
	return fmt.Sprintf("held as in generation %d: %s; to take over what is written there now: xdpallow reload", h.Generation, strings.Join(names, ", "))
}

func marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers, strings and lists of them always are JSON
	}
	return text
}
