// This file tells the kernel what holds for owners: who is suspended, and how many
// connections an owner may open.

package enforce

import (
	"fmt"
	"maps"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/stored"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// ruleAll tells the kernel what holds for every owner that has an id.
func (e *Enforced) ruleAll() error {
	for name, id := range e.Compiler.Owners.All() {
		if err := e.Gate.Tables.SetOwner(id, compile.OwnerRule(e.State, name)); err != nil {
			return fmt.Errorf("owner %s: %w", name, err)
		}
	}
	return nil
}

// ruleOwners tells the kernel what holds in next for the owners that an edit names: for those
// who are suspended then, or for the others.
func (e *Enforced) ruleOwners(edit desired.Edit, next desired.State, suspended bool) error {
	for name := range edit.Owners {
		rule := compile.OwnerRule(next, name)
		if rule.Suspended != suspended {
			continue
		}
		e.Gate.Tables.BeforeMove()
		if err := e.Gate.Tables.SetOwner(e.Compiler.Owners.Of(name), rule); err != nil {
			return fmt.Errorf("owner %s: %w", name, err)
		}
	}
	return nil
}

// SettleOwners makes the kernel have what holds for owners, after a start.
func (e *Enforced) SettleOwners() error {
	if err := e.giveIDs(e.owners()); err != nil {
		return err
	}
	return e.ruleAll()
}

// owners are the owners of whom anything is said.
func (e *Enforced) owners() map[string]bool {
	names := map[string]bool{}
	for name := range e.Counts.Owners() {
		names[name] = true
	}
	for name := range e.NamedOwners {
		names[name] = true
	}
	return names
}

// giveIDs gives ids to the owners of names who have none. When there is no more room, those
// give theirs back of whom nothing is said, neither now nor in names.
func (e *Enforced) giveIDs(names map[string]bool) error {
	fresh := e.Compiler.Owners.Missing(names)
	if e.Compiler.Owners.Len()+len(fresh) > kernel.MaxOwners {
		if err := e.releaseIDs(names); err != nil {
			return err
		}
	}
	if n := e.Compiler.Owners.Len() + len(fresh); n > kernel.MaxOwners {
		return &policy.Refused{What: fmt.Sprintf("there would be %d owners, and there is room for %d", n, kernel.MaxOwners), Hint: "xdpallow owners"}
	}
	ids := e.Compiler.Owners.With(fresh)
	for _, name := range fresh {
		if err := e.Gate.Tables.ForgetOwner(ids.Of(name)); err != nil {
			return fmt.Errorf("make room for owner %s: %w", name, err)
		}
	}
	e.Compiler.Owners = ids
	return nil
}

// releaseIDs takes back every id that no entry has, and forgets what was counted for
// it. It is on disk before another owner has the id: else he would be taken for the one
// before after a crash.
func (e *Enforced) releaseIDs(wanted map[string]bool) error {
	keep := e.owners()
	maps.Copy(keep, wanted)
	ids, gone := e.Compiler.Owners.Without(keep)
	if len(gone) == 0 {
		return nil
	}
	e.Compiler.Owners = ids
	// A program that read such an entry before it went may still charge its owner.
	if err := e.Gate.Tables.Barrier(); err != nil {
		return err
	}
	return e.Usage.ForgetOwners(e.kept, gone, map[string][]byte{stored.MetaOwners: e.Compiler.Owners.Marshal()})
}
