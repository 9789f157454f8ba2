// This file says which prefixes of the kernel a change touches: those that it names, and
// those in them that have another owner by it, or need a stop of their own.

package compile

import (
	"iter"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

// MaxPatch is how many entries a change may touch to be patched in place, if it may put some and
// remove others. One that only adds entries, or only removes some, may touch an eighth of the list:
// beyond that a publish takes no longer.
const MaxPatch = 64

func mostPatched(old policy.State, plan policy.Plan) int {
	if len(plan.Added)+len(plan.Changed) == 0 || len(plan.Removed)+len(plan.Changed) == 0 {
		return max(MaxPatch, old.Entries.Len()/8)
	}
	return MaxPatch
}

// Patch is the way of the kernel from old to next, of which plan says what entries it
// changes: entries to put, and prefixes to remove. It reports false where that is no small
// change. Errors are those of Entry.
func (c *Compiler) Patch(old, next policy.State, plan policy.Plan) (put []maps.Entry, remove []netip.Prefix, small bool, err error) {
	most := mostPatched(old, plan)
	if plan.ServicesChanged || len(plan.Added)+len(plan.Changed)+len(plan.Removed) > most {
		return nil, nil, false, nil
	}
	touched := map[netip.Prefix]bool{}
	for p := range plan.Prefixes() {
		touched[p] = true
	}
	compared := map[netip.Prefix]bool{}
	for p := range affected(old, next, plan) {
		if touched[p] || compared[p] {
			continue
		}
		compared[p] = true
		was, stood := old.Enforced(p)
		is, stands := next.Enforced(p)
		if stood != stands || stood && !policy.KernelEqual(was, is) {
			touched[p] = true
		}
		if len(touched) > most {
			return nil, nil, false, nil
		}
	}
	changed := 0
	for p := range touched {
		_, stood := old.Enforced(p)
		is, stands := next.Enforced(p)
		switch {
		case stands:
			if stood {
				changed++
			}
			entry, err := c.Entry(is, next.Services)
			if err != nil {
				return nil, nil, false, err
			}
			put = append(put, entry)
		case stood:
			remove = append(remove, p)
		}
	}
	// What is put in the place of another entry is no addition, whatever the plan calls it.
	small = len(touched) <= MaxPatch || len(put) == 0 || len(remove)+changed == 0
	return put, remove, small, nil
}

// affected yields the prefixes that plan does not name and of which the kernel may have
// to have something else, some twice.
func affected(old, next policy.State, plan policy.Plan) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		more := true
		// Whom an entry counts for is decided by what is around it, and so is whether a
		// stop needs an entry.
		within := func(p netip.Prefix, owners bool) {
			for e := range next.Entries.Under(p) {
				if !owners {
					break
				}
				if more = more && yield(e.Prefix); !more {
					return
				}
			}
			for _, s := range []policy.State{old, next} {
				for stop := range s.Suspended.StopsUnder(p) {
					if more = more && yield(stop); !more {
						return
					}
				}
			}
		}
		for p := range plan.Prefixes() {
			if within(p, policy.Handed(old.Entries, next.Entries, p)); !more {
				return
			}
		}
		if !plan.SuspendedChanged {
			return
		}
		for p := range old.Suspended.Changed(next.Suspended) {
			if within(p, true); !more {
				return
			}
		}
		// An owner who is stopped, or no longer, may be around any stop.
		for _, s := range []policy.State{old, next} {
			for stop := range s.Suspended.Stops() {
				if more = more && yield(stop); !more {
					return
				}
			}
		}
	}
}
