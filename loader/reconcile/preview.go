package reconcile

import (
	"errors"
	"os"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Preview is run --dry-run: what a start with o would change of the policy that was
// enforced last, and every mistake it would stop at. It touches nothing, and works
// beside a running daemon.
func Preview(o Options) (Plan, error) {
	last, err := store.LoadEffective(o.State)
	var torn *store.TornError
	if err != nil && !errors.As(err, &torn) && !errors.Is(err, os.ErrNotExist) {
		return Plan{}, err
	}
	old, err := merge(last.Services, last.Claims)
	if err != nil {
		return Plan{}, err
	}
	e := &Engine{options: o}
	read, err := e.read()
	if err != nil {
		return Plan{}, err
	}
	if len(read.failing) > 0 {
		return Plan{}, joined(read.failing)
	}
	claims := allClaims(read.declared, nil)
	for _, claim := range last.Claims {
		if claim.Origin == policy.OriginCLI {
			claims = append(claims, claim)
		}
	}
	next, err := merge(read.services, claims)
	if err != nil {
		return Plan{}, err
	}
	plan := policy.Diff(old, next)
	if err := policy.Guard(old, next, plan, policy.VerbRun, o.Force, time.Now()); err != nil {
		return Plan{}, err
	}
	v := view{clock: readClock()}
	report := func(entries []policy.Entry) []Entry {
		out := []Entry{}
		for _, e := range entries {
			out = append(out, v.entry(e, use{}))
		}
		return out
	}
	return Plan{
		Generation: last.Generation, Total: len(next.Entries),
		Added: report(plan.Added), Removed: report(plan.Removed), Changed: report(plan.Changed),
	}, nil
}
