// This file tells the kernel what holds for owners: who is suspended, and how many
// connections an owner may open.

package reconcile

import (
	"fmt"
	"maps"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/stored"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// ruleAll tells the kernel what holds for every owner, who have numbers.
func (e *Engine) ruleAll() error {
	for name, number := range e.view.compiler.Owners.All() {
		if err := e.view.gate.Tables.SetOwner(number, compile.OwnerRule(e.view.Overrides, name)); err != nil {
			return fmt.Errorf("owner %s: %w", name, err)
		}
	}
	return nil
}

// ruleOwners tells the kernel what holds in next for the owners that an edit names, if
// it is what only says.
func (e *Engine) ruleOwners(by desired.OverridesEdit, next desired.Overrides, only func(kernel.Owner) bool) error {
	for name := range by.Owners {
		rule := compile.OwnerRule(next, name)
		if !only(rule) {
			continue
		}
		e.shown.move()
		if err := e.view.gate.Tables.SetOwner(e.view.compiler.Owners.Of(name), rule); err != nil {
			return fmt.Errorf("owner %s: %w", name, err)
		}
	}
	return nil
}

func isStopped(o kernel.Owner) bool { return o.Suspended }

func isNotStopped(o kernel.Owner) bool { return !o.Suspended }

// settleOwners makes the kernel have what is said of the recovered owners.
func (e *Engine) settleOwners() error {
	names := map[string]bool{}
	for name := range e.view.Counts.Owners {
		names[name] = true
	}
	for name := range e.view.Overrides.NamedOwners {
		names[name] = true
	}
	if err := e.number(names); err != nil {
		return err
	}
	return e.ruleAll()
}

// number gives ids to the owners of names who have none. When there is no more room, those
// give theirs back of whom nothing is said, neither now nor in names.
func (e *Engine) number(names map[string]bool) error {
	fresh := e.view.compiler.Owners.Missing(names)
	if e.view.compiler.Owners.Len()+len(fresh) > kernel.MaxOwners {
		if err := e.releaseNumbers(names); err != nil {
			return err
		}
	}
	if n := e.view.compiler.Owners.Len() + len(fresh); n > kernel.MaxOwners {
		return &policy.Refused{What: fmt.Sprintf("there would be %d owners, and there is room for %d", n, kernel.MaxOwners), Hint: "xdpallow owners"}
	}
	ids := e.view.compiler.Owners.With(fresh)
	for _, name := range fresh {
		if err := e.view.gate.Tables.ForgetOwner(ids.Of(name)); err != nil {
			return fmt.Errorf("make room for owner %s: %w", name, err)
		}
	}
	e.view.compiler.Owners = ids
	return nil
}

// releaseNumbers takes back every id that no entry has, and forgets what was counted for
// it. It is on disk before another owner has the id: else he would be taken for the one
// before after a crash.
func (e *Engine) releaseNumbers(wanted map[string]bool) error {
	keep := maps.Clone(wanted)
	for name := range e.view.Counts.Owners {
		keep[name] = true
	}
	for name := range e.view.Overrides.NamedOwners {
		keep[name] = true
	}
	ids, gone := e.view.compiler.Owners.Without(keep)
	if len(gone) == 0 {
		return nil
	}
	e.view.compiler.Owners = ids
	// A program that read such an entry before it went may still charge its owner.
	if err := e.view.gate.Tables.Barrier(); err != nil {
		return err
	}
	return e.view.usage.ForgetOwners(e.disk.Store, gone, map[string][]byte{stored.MetaOwners: e.view.compiler.Owners.Marshal()})
}
