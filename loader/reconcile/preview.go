package reconcile

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// Preview is run --dry-run: what a start with o would change of the policy that was
// enforced last, and every mistake it would stop at. It touches nothing, and works
// beside a running daemon.
func Preview(o Options) (api.Plan, error) {
	e := &Engine{options: o}
	was, err := stored.Look(o.State, readClock())
	if err != nil {
		return api.Plan{}, err
	}
	e.unsettled.held, e.unsettled.pending = was.Held, was.Pending
	last, made := was.Last, was.Kept
	now := time.Now()
	old, err := desired.New(last.Services, last.Declared(), slices.Clone(made), now)
	if err != nil {
		return api.Plan{}, err
	}
	e.view.State = old
	read, err := e.read(context.Background())
	if err != nil {
		return api.Plan{}, err
	}
	e.withhold(&read)
	if len(read.failing) > 0 {
		return api.Plan{}, joined(read.failing)
	}
	if read.services == nil { // held
		read.services = old.Policy.Services
	}
	next, err := desired.New(read.services, read.declared, made, now)
	if err != nil {
		return api.Plan{}, err
	}
	plan := policy.Diff(old.Policy, next.Policy)
	if err := policy.Guard(old.Policy, next.Policy, plan, policy.VerbRun, o.Force, now); err != nil {
		return api.Plan{}, err
	}
	if err := previewSessions(old.Policy, next.Policy, o.Force, now); err != nil {
		return api.Plan{}, err
	}
	var ahead outcome
	if len(o.Services) == 0 && !o.Force.AllowOpen { // the start itself would keep it shut
		ahead.refused, _ = errors.AsType[*policy.Refused](policy.GuardOpen(plan))
	}
	if o.losesBackstop() && last.Backstop == "on" && ahead.refused == nil {
		ahead.refused = &policy.Refused{What: "this would open what is shut: " + backstopGoes, Hint: "--allow-open"}
	}
	report := func(entries []policy.Entry) []api.Entry {
		out := []api.Entry{}
		for _, e := range entries {
			out = append(out, query.EntryOf(e, store.Use{}))
		}
		return out
	}
	return api.Plan{
		Generation: last.Generation, Total: next.Policy.Entries.Len(),
		Added: report(plan.Added), Removed: report(plan.Removed), Changed: report(plan.Changed), Was: query.Formers(plan.Was),
		Services: query.ServiceChangesOf(plan.Services), Opens: plan.Opens, Foreseen: ahead.foreseen(),
	}, nil
}

// previewSessions refuses what would shut out whoever is logged in, as the start does.
func previewSessions(old, next policy.State, force policy.Force, now time.Time) error {
	peers, err := impact.Sessions(os.Getpid())
	if err != nil {
		return err
	}
	logins, err := impact.Logins()
	if err != nil {
		return err
	}
	return guardSessions(old, next, change{verb: policy.VerbRun, force: force, peers: peers, logins: logins}, now)
}
