// This file makes what commands made equal an export, in one change.

package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"

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
	x, err := ReadExport(r.Name, r.Text)
	if err != nil {
		return Plan{}, err
	}
	over, err := e.importing(x.overrides, by, r.AllowAny)
	if err != nil {
		return Plan{}, err
	}
	return e.replaced(r.ReplaceRequest, x.Claims, change{
		by: by, command: "import", verb: policy.VerbImport, edit: Edit{Overrides: over}, force: policy.Force{AllowOpen: r.AllowOpen},
	})
}

// importing leads from what is said over all origins to what x says.
func (e *Engine) importing(x overrides, by Caller, allowAny bool) (over overriding, err error) {
	now := time.Now().UTC()
	for _, was := range e.view.sorted() {
		if _, stays := x.suspended[was.Subject]; !stays {
			over.resume = append(over.resume, was.Subject)
		}
	}
	for _, s := range x.sorted() {
		was, again := e.view.suspended[s.Subject]
		if !again && s.Owner == "" && !allowAny {
			if err := policy.GuardSubject(s.Prefix, "suspended"); err != nil {
				return over, err
			}
		}
		switch {
		case s.Unnoted && again: // it goes on as it is, see Suspend
			s = holding(s, holdOf(was).Tightened(e.view.state, s.Nested, now))
		case s.Owner != "" && !s.Unnoted && !again: // what is declared here is his, too
			h, _ := holdOf(s).Follow(e.view.state, e.view.state, policy.Plan{Added: e.declaredEntries()}, now)
			s = holding(s, h)
		}
		if s.Time.IsZero() {
			if s.Time, s.UID = now.Truncate(time.Second), by.UID; again {
				s.Time, s.UID = was.Time, was.UID
			}
		}
		if !again || !sameSuspension(was, s) {
			over.suspend = append(over.suspend, s)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(e.view.limits)) {
		if _, stays := x.limits[owner]; !stays {
			over.unlimit = append(over.unlimit, owner)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(x.limits)) {
		if l := x.limits[owner]; l != e.view.limits[owner] {
			over.limit = append(over.limit, l)
		}
	}
	return over, nil
}

// declaredEntries are those that somebody else than the CLI claims.
func (e *Engine) declaredEntries() (all []policy.Entry) {
	for entry := range e.view.state.Entries.All() {
		if len(entry.Claims) > 1 || madeBy(entry) == nil {
			all = append(all, *entry)
		}
	}
	return all
}

func sameSuspension(a, b store.Suspension) bool {
	return a.Reason == b.Reason && a.Time.Equal(b.Time) && a.UID == b.UID && a.Unnoted == b.Unnoted && a.Nested == b.Nested &&
		slices.Equal(a.Held, b.Held) && slices.Equal(a.Stays, b.Stays)
}
