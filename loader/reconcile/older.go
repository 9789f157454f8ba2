// This file holds a start beside a gate that is up to what that gate enforces. Two files
// of the state that are both of an earlier day, or both gone, agree with each other: only
// the kernel knows that removed and suspended sources would be let in again, or customers
// be cut off.

package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// guardOlder compares next, which the files of the state say as of generation, with what
// a gate that is up enforces. It returns *policy.Refused where next would let in whom the
// gate drops, or cut most of its entries off, and this start has no flag for that; the
// gate then stays as it is. Anything less is a problem. One generation more in the kernel
// is a change that was under way when the daemon was killed, and was never acknowledged.
func (e *Engine) guardOlder(next desired.State, generation uint64) error {
	tables := e.view.gate.Tables
	if enforced := tables.Generation(); !e.stood || tables.Stale() || enforced <= generation+1 {
		return nil
	}
	was, err := tables.Entries()
	if err != nil {
		return err
	}
	sameServices, err := tables.SameServices(kernel.Policy{Services: compile.Services(next.Policy.Services, next.Audits)})
	if err != nil {
		return err
	}
	owners, err := e.ruledOtherwise(next)
	if err != nil {
		return err
	}
	back, gone := compareEnforced(was, next.Policy)
	var effects []string
	if len(back) > 0 {
		effects = append(effects, "let in "+repair.Named(back)+", which the gate drops")
	}
	if len(gone) > 0 {
		effects = append(effects, "drop "+repair.Named(gone)+", which it lets in")
	}
	if len(owners) > 0 {
		effects = append(effects, "change the suspension or limit of "+strings.Join(owners, ", "))
	}
	if !sameServices {
		effects = append(effects, "change ports or modes")
	}
	if len(effects) == 0 {
		return nil
	}
	text := fmt.Sprintf("state.db and effective.list are older than what is enforced (generation %d, and %d), or missing: they would %s",
		generation, tables.Generation(), strings.Join(effects, "; "))
	what := fmt.Sprintf("%s: %s; put newer copies of them there, or say that these are meant", e.options.State, text)
	opens := len(back)+len(owners) > 0 || !sameServices
	if opens && !e.options.Force.AllowOpen {
		return &policy.Refused{What: what, Hint: "--allow-open"}
	}
	if policy.Shrinks(len(gone), len(was)) && !e.options.Force.ForceShrink {
		return &policy.Refused{What: what, Hint: "--force-shrink"}
	}
	e.trouble(store.Trouble{Path: e.options.State, Text: text, Hint: "xdpallow list"})
	return nil
}

// compareEnforced returns which prefixes next lets in and was does not, and the other way
// round.
func compareEnforced(was []kernel.Entry, next policy.State) (back, gone []netip.Prefix) {
	open := map[netip.Prefix]bool{}
	for _, entry := range was {
		open[entry.Prefix] = !entry.Suspended
	}
	for entry := range next.AllEnforced() {
		switch {
		case entry.Suspended: // if it is open now, it is gone
		case open[entry.Prefix]:
			delete(open, entry.Prefix)
		default:
			back = append(back, entry.Prefix)
		}
	}
	for prefix, isOpen := range open {
		if isOpen {
			gone = append(gone, prefix)
		}
	}
	return back, gone
}

// ruledOtherwise are the owners whose suspension or limit is another in the kernel.
func (e *Engine) ruledOtherwise(next desired.State) (names []string, err error) {
	for name, number := range e.view.compiler.Owners.All() {
		same, err := e.view.gate.Tables.SameOwner(number, compile.OwnerRule(next.Overrides, name))
		if err != nil {
			return nil, err
		}
		if !same {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
