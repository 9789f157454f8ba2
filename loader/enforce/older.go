// This file says in what a state differs from what a gate that is up enforces. Two files of the
// state that are both of an earlier day, or both gone, agree with each other: only the kernel
// knows that removed and suspended sources would be let in again, or customers be cut off.

package enforce

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// Difference is how the kernel's behaviour would change under another state.
type Difference struct {
	Opens, Shuts, Narrows []netip.Prefix
	Owners                []string // whose suspension or limit would be another
	Services              bool     // ports or modes would be others

	entries int // that the kernel has
}

// Compare compares next with what the gate enforces.
func (e *Enforced) Compare(next desired.State) (d Difference, err error) {
	was, err := e.Gate.Tables.Entries()
	if err != nil {
		return d, err
	}
	same, err := e.Gate.Tables.SameServices(kernel.Policy{Services: compile.Services(next.Policy.Services, next.Audits)})
	if err != nil {
		return d, err
	}
	if d.Owners, err = e.ruledOtherwise(next); err != nil {
		return d, err
	}
	compiled, err := compileAnyOwner(*e.Compiler, next)
	if err != nil {
		return d, err
	}
	d.Services, d.entries = !same, len(was)
	d.Opens, d.Shuts, d.Narrows = compile.Difference(was, compiled, uint64(compile.Boottime()))
	return d, nil
}

// String follows "they would"; "" is no difference.
func (d Difference) String() string {
	var effects []string
	if len(d.Opens) > 0 {
		effects = append(effects, "let in "+repair.Named(d.Opens)+", which the gate drops, or lets in for less time or fewer services")
	}
	if len(d.Shuts) > 0 {
		effects = append(effects, "drop "+repair.Named(d.Shuts)+", which it lets in")
	}
	if len(d.Narrows) > 0 {
		effects = append(effects, "let in "+repair.Named(d.Narrows)+" for less time or fewer services than the gate does")
	}
	if len(d.Owners) > 0 {
		effects = append(effects, "change the suspension or limit of "+strings.Join(d.Owners, ", "))
	}
	if d.Services {
		effects = append(effects, "change ports or modes")
	}
	return strings.Join(effects, "; ")
}

// Guard refuses, with what as the text, a difference that lets in whom the gate drops, or cuts
// off most of its entries, unless force says that this is meant. The error is *policy.Refused.
func (d Difference) Guard(what string, force policy.Force) error {
	if (len(d.Opens)+len(d.Owners) > 0 || d.Services) && !force.AllowOpen {
		return &policy.Refused{What: what, Hint: "--allow-open"}
	}
	if policy.Shrinks(len(d.Shuts), d.entries) && !force.ForceShrink {
		return &policy.Refused{What: what, Hint: "--force-shrink"}
	}
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
func (e *Enforced) ruledOtherwise(next desired.State) (names []string, err error) {
	for name, number := range e.Compiler.Owners.All() {
		same, err := e.Gate.Tables.SameOwner(number, compile.OwnerRule(next, name))
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
