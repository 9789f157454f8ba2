package offline

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// Preview is run --dry-run: what a start with o would change of the policy that was enforced
// last and that the state directory has, and every mistake it would stop at. It touches nothing,
// and works beside a running daemon.
func Preview(o declared.Sources, state string) (api.Plan, error) {
	was, err := stored.Look(state, compile.NewClock(time.Now(), compile.Boottime()))
	if err != nil {
		return api.Plan{}, err
	}
	last, made := was.Last, was.Kept
	now := time.Now()
	old, err := desired.New(last.Services, last.Declared(), slices.Clone(made), now)
	if err != nil {
		return api.Plan{}, err
	}
	read, err := o.Read(context.Background())
	if err != nil {
		return api.Plan{}, err
	}
	read.Withhold(func(origin policy.Origin) bool { return was.Held.Holds(origin, was.Pending != nil) }, old.Declared())
	if len(read.Failing) > 0 {
		return api.Plan{}, read.Failing.Err()
	}
	if read.Services == nil { // held
		read.Services = old.Policy.Services
	}
	next, err := desired.New(read.Services, read.Claims, made, now)
	if err != nil {
		return api.Plan{}, err
	}
	plan := policy.Diff(old.Policy, next.Policy)
	force := o.Force
	if enrols := read.Settings != nil && len(read.Settings.Enrol) > 0; !was.Good() && (enrols || len(read.Origins) > 0) {
		force.AllowEmpty = true // as at the start itself
	}
	if err := policy.Guard(old.Policy, next.Policy, plan, policy.VerbRun, force, now); err != nil {
		return api.Plan{}, err
	}
	if err := previewSessions(old.Policy, next.Policy, o.Force, now); err != nil {
		return api.Plan{}, err
	}
	var refused *policy.Refused
	if len(o.Services) == 0 && !o.Force.AllowOpen { // the start itself would keep it shut
		refused, _ = errors.AsType[*policy.Refused](policy.GuardOpen(plan))
	}
	if o.LosesBackstop() && last.Backstop == "on" && refused == nil {
		refused = &policy.Refused{What: "this would open what is shut: " + declared.BackstopGoes, Hint: "--allow-open"}
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
		Services: query.ServiceChangesOf(plan.Services), Opens: plan.Opens, Foreseen: query.ForeseenOf(nil, refused),
		Warnings: follow.Foretell(read.Origins, made),
	}, nil
}

// previewSessions refuses what would shut out whoever is logged in, as the start does.
func previewSessions(old, next policy.State, force policy.Force, now time.Time) error {
	peers, err := impact.Sessions(os.Getpid())
	if err != nil {
		return err
	}
	logins, err := impact.Logins()
	if err != nil || force.CutSessions {
		return err
	}
	return impact.Guard(old, next, peers, logins, policy.VerbRun, now)
}
