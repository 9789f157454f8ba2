// This file tells the kernel what holds for owners: who is suspended, and how many
// connections an owner may open.

package reconcile

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/store"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// overridesOf reads what is kept.
func overridesOf(kept *store.Store) (o desired.Overrides, err error) {
	suspensions, err := kept.Suspensions()
	if err != nil {
		return o, err
	}
	limits, err := kept.Limits()
	return o.After(desired.OverridesEdit{Suspend: suspensions, Limit: limits}), err
}

// ruleAll tells the kernel what holds for every owner, who have numbers.
func (e *Engine) ruleAll() error {
	for name, number := range e.compiler.numbers.of {
		if err := e.view.gate.Tables.SetOwner(number, ownerRule(e.view.Overrides, name)); err != nil {
			return fmt.Errorf("owner %s: %w", name, err)
		}
	}
	return nil
}

// ruleOwners tells the kernel what holds in next for the owners that an edit names, if
// it is what only says.
func (e *Engine) ruleOwners(by desired.OverridesEdit, next desired.Overrides, only func(kernel.Owner) bool) error {
	for name := range by.Owners {
		rule := ownerRule(next, name)
		if !only(rule) {
			continue
		}
		number, err := e.compiler.numbers.get(name)
		if err == nil {
			err = e.view.gate.Tables.SetOwner(number, rule)
		}
		if err != nil {
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
	for name := range e.tally.Owners {
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
