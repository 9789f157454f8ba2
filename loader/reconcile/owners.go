// This file keeps what is said over all origins, and by owner: who is suspended, and
// how many openings an owner has.

package reconcile

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// overrides are what is said of prefixes and owners, whoever lists them. They do not
// change: an edit makes others.
type overrides struct {
	suspended map[store.Subject]store.Suspension
	limits    map[string]store.Limit
}

// overriding is what a change does to overrides, first what it takes back.
type overriding struct {
	resume  []store.Subject
	suspend []store.Suspension
	unlimit []string
	limit   []store.Limit
}

func (o overriding) empty() bool {
	return len(o.resume)+len(o.suspend)+len(o.unlimit)+len(o.limit) == 0
}

// words say what o does to was, a line each.
func (o overriding) words(was overrides) (lines []string) {
	for _, subject := range o.resume {
		lines = append(lines, "resume "+subject.String())
	}
	for _, s := range o.suspend {
		if before, stopped := was.suspended[s.Subject]; stopped && before.Reason == s.Reason && before.Nested == s.Nested {
			continue // what it holds has changed, and nobody is told of that
		}
		lines = append(lines, "suspend "+s.Subject.String())
	}
	for _, owner := range o.unlimit {
		lines = append(lines, "limit "+owner+" none")
	}
	for _, l := range o.limit {
		lines = append(lines, fmt.Sprintf("limit %s %s --burst %d", l.Owner, policy.FormatRate(l.PerSecond), l.Burst))
	}
	return lines
}

// overridesOf reads what is kept.
func overridesOf(kept *store.Store) (o overrides, err error) {
	suspensions, err := kept.Suspensions()
	if err != nil {
		return o, err
	}
	limits, err := kept.Limits()
	return o.after(overriding{suspend: suspensions, limit: limits}), err
}

// after is o after an edit.
func (o overrides) after(by overriding) overrides {
	if by.empty() {
		return o
	}
	o = overrides{maps.Clone(o.suspended), maps.Clone(o.limits)}
	if o.suspended == nil {
		o.suspended = map[store.Subject]store.Suspension{}
	}
	if o.limits == nil {
		o.limits = map[string]store.Limit{}
	}
	for _, subject := range by.resume {
		delete(o.suspended, subject)
	}
	for _, s := range by.suspend {
		o.suspended[s.Subject] = s
	}
	for _, owner := range by.unlimit {
		delete(o.limits, owner)
	}
	for _, l := range by.limit {
		o.limits[l.Owner] = l
	}
	return o
}

// stopped is whom o suspends.
func (o overrides) stopped() policy.Suspended {
	var prefixes []netip.Prefix
	var owners []policy.Hold
	for subject, s := range o.suspended {
		if subject.Owner != "" {
			owners = append(owners, holdOf(s))
		} else {
			prefixes = append(prefixes, subject.Prefix)
		}
	}
	return policy.NewSuspended(prefixes, owners)
}

// ownerRule is what holds in the kernel for an owner.
func (o overrides) ownerRule(name string) kernel.Owner {
	_, suspended := o.suspended[store.Subject{Owner: name}]
	limit := o.limits[name]
	return kernel.Owner{Suspended: suspended, Limit: kernel.Limit{PerSecond: limit.PerSecond, Burst: limit.Burst}}
}

// names yields every owner that o says something of, some twice.
func (o overrides) names(yield func(string) bool) {
	for subject := range o.suspended {
		if subject.Owner != "" && !yield(subject.Owner) {
			return
		}
	}
	for owner := range o.limits {
		if !yield(owner) {
			return
		}
	}
}

// ruleAll tells the kernel what holds for every owner, who have numbers.
func (e *Engine) ruleAll() error {
	for name, number := range e.compiler.numbers.of {
		if err := e.view.gate.Tables.SetOwner(number, e.view.ownerRule(name)); err != nil {
			return fmt.Errorf("owner %s: %w", name, err)
		}
	}
	return nil
}

// ruleOwners tells the kernel what holds in next for the owners that an edit names, if
// it is what only says.
func (e *Engine) ruleOwners(by overriding, next overrides, only func(kernel.Owner) bool) error {
	for name := range by.owners {
		rule := next.ownerRule(name)
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

// owners yields the owners that the edit names, some twice.
func (o overriding) owners(yield func(string) bool) {
	var names []string
	for _, subject := range o.resume {
		names = append(names, subject.Owner)
	}
	for _, s := range o.suspend {
		names = append(names, s.Owner)
	}
	names = append(names, o.unlimit...)
	for _, l := range o.limit {
		names = append(names, l.Owner)
	}
	for _, name := range names {
		if name != "" && !yield(name) {
			return
		}
	}
}

// settleOwners makes the kernel have what is said of the recovered owners.
func (e *Engine) settleOwners() error {
	names := map[string]bool{}
	for name := range e.tally.owners {
		names[name] = true
	}
	for name := range e.view.overrides.names {
		names[name] = true
	}
	if err := e.number(names); err != nil {
		return err
	}
	return e.ruleAll()
}
