// This file holds a start beside a gate that is up to what that gate enforces. Two files
// of the state that are both of an earlier day, or both gone, agree with each other: only
// the kernel knows that removed and suspended sources would be let in again, or customers
// be cut off.

package reconcile

import (
	"fmt"
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
	if enforced := tables.Generation(); !e.life.stood || tables.Stale() || enforced <= generation+1 {
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
	compiled, err := compileAnyOwner(*e.view.compiler, next)
	if err != nil {
		return err
	}
	opens, shuts, narrows := compile.Difference(was, compiled, uint64(compile.Boottime()))
	var effects []string
	if len(opens) > 0 {
		effects = append(effects, "let in "+repair.Named(opens)+", which the gate drops, or lets in for less time or fewer services")
	}
	if len(shuts) > 0 {
		effects = append(effects, "drop "+repair.Named(shuts)+", which it lets in")
	}
	if len(narrows) > 0 {
		effects = append(effects, "let in "+repair.Named(narrows)+" for less time or fewer services than the gate does")
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
	if (len(opens)+len(owners) > 0 || !sameServices) && !e.options.Force.AllowOpen {
		return &policy.Refused{What: what, Hint: "--allow-open"}
	}
	if policy.Shrinks(len(shuts), len(was)) && !e.options.Force.ForceShrink {
		return &policy.Refused{What: what, Hint: "--force-shrink"}
	}
	e.trouble(store.Trouble{Path: e.options.State, Text: text, Hint: "xdpallow list"})
	return nil
}

// compileAnyOwner returns the entries of next. Its owners may have no ids yet, and need none
// to be compared.
func compileAnyOwner(c compile.Compiler, next desired.State) ([]kernel.Entry, error) {
	names := map[string]bool{}
	for entry := range next.Policy.AllEnforced() {
		names[entry.Owner()] = true
	}
	delete(names, "")
	c.Owners = c.Owners.With(c.Owners.Missing(names))
	compiled, err := c.Policy(next, 0)
	return compiled.Entries, err
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
