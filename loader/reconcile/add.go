package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// Add makes or updates CLI claims, all or none.
func (e *Engine) Add(ctx context.Context, by api.Caller, r api.AddRequest) (api.Listing, error) {
	if err := e.begin(ctx); err != nil {
		return api.Listing{}, err
	}
	defer e.unlock()
	add, err := e.enforced.Add(r, e.enforced.Now())
	if err != nil {
		return api.Listing{}, err
	}
	var assess time.Duration // an addition cuts hardly anybody off: only who asks is told
	if r.DryRun {
		if assess, err = assessed(api.DefaultSeen); err != nil {
			return api.Listing{}, err
		}
	}
	before := e.enforced.State
	o, err := e.make(change{
		by: by, tell: api.Progress(ctx), command: "add", dryRun: r.DryRun, assess: assess, verb: policy.VerbAdd, force: policy.Force{AllowAny: r.AllowAny, AllowEmpty: true}, edit: desired.Edit{Claims: policy.Edit{Put: add.News}}, lasting: add.Lasting, peers: r.Sessions,
	})
	if err != nil {
		return api.Listing{}, err
	}
	changed := !o.plan.Empty()
	if r.DryRun {
		entries := standing(add.Claims, o.next)
		listing := e.listing(entries)
		listing.Total, listing.Changed, listing.Was, listing.Foreseen = o.next.Entries.Len(), &changed, query.FormersOf(entries, o.plan), query.ForeseenOf(o.cuts, o.refused)
		listing.Warnings = o.warnings
		return listing, nil
	}
	if len(add.News) > 0 {
		e.options.Log.Info(fmt.Sprintf("added %s: generation %d", logtext.Claims(add.News), e.enforced.Gate.Tables.Generation()), logtext.Caller(by)...)
	}
	entries := standing(add.Claims, e.enforced.Policy)
	listing := e.listing(entries)
	listing.Changed, listing.Was, listing.Warnings = &changed, query.FormersOf(entries, o.plan), e.enforced.Warnings(before, o.plan, entries)
	return listing, nil
}

// standing are the entries of state that claims are part of, sorted.
func standing(claims []policy.Claim, state policy.State) []policy.Entry {
	var entries []policy.Entry
	for _, claim := range claims {
		if entry, found := state.Entries.Find(claim.Prefix); found {
			entries = append(entries, *entry)
		}
	}
	slices.SortFunc(entries, func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return entries
}

func (e *Engine) listing(entries []policy.Entry) api.Listing {
	return api.Listing{Generation: e.enforced.Gate.Tables.Generation(), Total: e.enforced.Policy.Entries.Len(), Entries: e.enforced.View().Entries(entries)}
}
