// This file makes what commands made equal an export, in one change.

package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Import makes what commands made equal an export: claims, suspensions and limits, all or
// none. It lets in nobody who is stopped unless AllowOpen says that it is meant.
func (e *Engine) Import(ctx context.Context, by Caller, r ImportRequest) (Plan, error) {
	if err := e.begin(ctx); err != nil {
		return Plan{}, err
	}
	defer e.mu.Unlock()
	x, err := desired.ReadExport(r.Name, r.Text)
	if err != nil {
		return Plan{}, err
	}
	over, err := e.importing(x.Overrides, by, r.AllowAny)
	if err != nil {
		return Plan{}, err
	}
	return e.replaced(r.ReplaceRequest, x.Claims, change{
		by: by, command: "import", verb: policy.VerbImport, edit: desired.Edit{Overrides: over}, force: policy.Force{AllowOpen: r.AllowOpen},
	})
}

// importing leads from what is said over all origins to what x says.
func (e *Engine) importing(x desired.Overrides, by Caller, allowAny bool) (over desired.OverridesEdit, err error) {
	now := time.Now().UTC()
	for _, was := range e.view.SortedSuspensions() {
		if _, stays := x.Suspensions[was.Subject]; !stays {
			over.Resume = append(over.Resume, was.Subject)
		}
	}
	for _, s := range x.SortedSuspensions() {
		was, again := e.view.Suspensions[s.Subject]
		if !again && s.Owner == "" && !allowAny {
			if err := policy.GuardSubject(s.Prefix, "suspended"); err != nil {
				return over, err
			}
		}
		switch {
		case s.Unnoted && again: // it goes on as it is, see Suspend
			s = desired.Holding(s, desired.HoldOf(was).Tightened(e.view.Policy, s.Nested, now))
		case s.Owner != "" && !s.Unnoted && !again: // what is declared here is his, too
			h, _ := desired.HoldOf(s).Follow(e.view.Policy, e.view.Policy, policy.Plan{Added: e.declaredEntries()}, now)
			s = desired.Holding(s, h)
		}
		if s.Time.IsZero() {
			if s.Time, s.UID = now.Truncate(time.Second), by.UID; again {
				s.Time, s.UID = was.Time, was.UID
			}
		}
		if !again || !sameSuspension(was, s) {
			over.Suspend = append(over.Suspend, s)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(e.view.Limits)) {
		if _, stays := x.Limits[owner]; !stays {
			over.Unlimit = append(over.Unlimit, owner)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(x.Limits)) {
		if l := x.Limits[owner]; l != e.view.Limits[owner] {
			over.Limit = append(over.Limit, l)
		}
	}
	return over, nil
}

// declaredEntries are those that somebody else than the CLI claims.
func (e *Engine) declaredEntries() (all []policy.Entry) {
	for entry := range e.view.Policy.Entries.All() {
		if len(entry.Claims) > 1 || desired.MadeBy(entry) == nil {
			all = append(all, *entry)
		}
	}
	return all
}

func sameSuspension(a, b store.Suspension) bool {
	return a.Reason == b.Reason && a.Time.Equal(b.Time) && a.UID == b.UID && a.Unnoted == b.Unnoted && a.Nested == b.Nested &&
		slices.Equal(a.Held, b.Held) && slices.Equal(a.Stays, b.Stays)
}
