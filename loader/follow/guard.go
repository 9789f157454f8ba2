// This file refuses readings by which a list would suddenly lose most of what it had.

package follow

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Guard refuses a reading of origin by which it would lose more than half of what it had, or all.
// A host name says by itself what it has no longer, and a fleet was asked when it was changed.
func Guard(origin policy.Origin, had, gone, left int, force policy.Force) error {
	_, fleet := origin.Etcd()
	switch {
	case fleet, origin.IsDNS():
	case !force.ForceShrink && policy.Shrinks(gone, had):
		return refused("--force-shrink", "%s of %d would be removed", policy.Count(gone, "prefix", "prefixes"), had)
	case !force.AllowEmpty && !force.ForceShrink && had > 0 && left == 0:
		return refused("--allow-empty", "nothing is listed there, and %s would be removed", policy.Count(had, "prefix", "prefixes"))
	}
	return nil
}

func refused(flag, format string, args ...any) *policy.Refused {
	return &policy.Refused{What: fmt.Sprintf(format, args...), Hint: "xdpallow reload " + flag}
}

// Refusal gives what guard rails refuse of a reading a command for a hint: theirs is a flag, of
// a command that nobody typed.
func Refusal(r *policy.Refused) *policy.Refused {
	hint := r.Hint
	if len(hint) > 2 && hint[:2] == "--" {
		hint = "xdpallow reload " + hint
	}
	return &policy.Refused{What: r.What, Hint: hint}
}

// Loses returns how many claims of origin admit a source at now in was (had), how many of those no
// longer do in next (gone), and how many do in next (left). edit leads from was to next.
// Where gone is 0, had is 0 too and left counts only those that came: nobody needs more. One that ends, or is for a service that is not
// there, shuts its customer out as one that is gone.
func Loses(origin policy.Origin, was, next policy.State, edit policy.Edit, now time.Time) (had, gone, left int) {
	letsIn := func(state policy.State, prefix netip.Prefix) bool {
		entry, found := state.Entries.Find(prefix)
		return found && entry.LetsIn(origin, now)
	}
	came, seen := 0, map[netip.Prefix]bool{}
	for prefix := range edit.Prefixes() {
		if seen[prefix] {
			continue
		}
		seen[prefix] = true
		switch before, after := letsIn(was, prefix), letsIn(next, prefix); {
		case before && !after:
			gone++
		case after && !before:
			came++
		}
	}
	if gone == 0 { // nobody asks for more, and a walk over a million takes long
		return 0, 0, came
	}
	for entry := range was.Entries.All() {
		if entry.LetsIn(origin, now) {
			had++
		}
	}
	return had, gone, had - gone + came
}
