package reconcile

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// Remove takes CLI claims away, all or none. It refuses when a named prefix had no
// claim, or is declared as well, and says where. What a wider entry lists still it takes
// away, and says by which.
func (e *Engine) Remove(ctx context.Context, by api.Caller, r api.RemoveRequest) (api.Listing, error) {
	listing, err := e.remove(ctx, by, r)
	if err != nil || !r.Cut {
		return listing, err
	}
	var prefixes []netip.Prefix
	for _, entry := range listing.Entries {
		prefixes = append(prefixes, entry.Prefix)
	}
	n, err := e.cutOff(impact.Within(prefixes))
	listing.Cut = &n
	if err != nil {
		return listing, fmt.Errorf("removed; %w", err)
	}
	return listing, nil
}

func (e *Engine) remove(ctx context.Context, by api.Caller, r api.RemoveRequest) (api.Listing, error) {
	if err := e.begin(ctx); err != nil {
		return api.Listing{}, err
	}
	defer e.unlock()
	gone, err := e.enforced.Remove(r, e.enforced.Now())
	if err != nil {
		return api.Listing{}, err
	}
	if len(gone) == 0 {
		listing, changed := e.listing(nil), false
		listing.Changed = &changed
		return listing, nil
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return api.Listing{}, err
	}
	before := e.enforced.View().Entries(gone)
	o, err := e.make(change{
		by: by, tell: api.Progress(ctx), command: "remove", verb: policy.VerbRemove, force: policy.Force{AllowEmpty: r.AllowEmpty}, edit: desired.Without(gone), peers: r.Sessions,
		dryRun: r.DryRun, assess: assess,
	})
	if err != nil {
		return api.Listing{}, err
	}
	listing := e.listing(nil)
	listing.Entries, listing.Total, listing.Foreseen = before, o.next.Entries.Len(), query.ForeseenOf(o.cuts, o.refused)
	listing.Still = desired.StillListed(o.next, gone, e.enforced.Now())
	if r.DryRun {
		return listing, nil
	}
	changed := true
	listing.Changed = &changed
	e.options.Log.Info(fmt.Sprintf("removed %s: generation %d", logtext.Entries(gone), e.enforced.Gate.Tables.Generation()), logtext.Caller(by)...)
	return listing, nil
}
