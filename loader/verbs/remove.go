package verbs

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// Remove takes CLI claims away, all or none. It refuses when a named prefix had no
// claim, or is declared as well, and says where. It succeeds
// when a wider entry still lists the source, and names that entry.
func (e *Engine) Remove(ctx context.Context, by api.Caller, r api.RemoveRequest) (answer api.Listing, err error) {
	err = e.Do(ctx, by, func(t reconcile.Turn) (err error) {
		answer, err = e.remove(t, r)
		return err
	})
	if err != nil || !r.Cut {
		return answer, err
	}
	var prefixes []netip.Prefix
	for _, entry := range answer.Entries {
		prefixes = append(prefixes, entry.Prefix)
	}
	n, err := e.cutOff(impact.Within(prefixes))
	answer.Cut = &n
	if err != nil {
		return answer, fmt.Errorf("removed; %w", err)
	}
	return answer, nil
}

func (e *Engine) remove(t reconcile.Turn, r api.RemoveRequest) (api.Listing, error) {
	now := t.View().Now()
	gone, err := t.View().Remove(r, now)
	if err != nil {
		return api.Listing{}, err
	}
	changed := len(gone) > 0
	if !changed {
		answer := listing(t, nil)
		answer.Changed = &changed
		return answer, nil
	}
	before := t.View().Entries(gone)
	o, err := t.Make(reconcile.Change{
		Command: "remove", Verb: policy.VerbRemove, Force: policy.Force{AllowEmpty: r.AllowEmpty}, DryRun: r.DryRun, Sessions: r.Sessions,
		Assess: true, Seen: r.Seen, Edit: desired.Without(gone),
	})
	if err != nil {
		return api.Listing{}, err
	}
	answer := listing(t, nil)
	answer.Entries, answer.Total, answer.Foreseen = before, o.Next.Entries.Len(), o.Foreseen()
	answer.Still = desired.StillListed(o.Next, gone, now)
	if !r.DryRun {
		answer.Changed = &changed
		e.changed(t, "removed %s", logtext.Entries(gone))
	}
	return answer, nil
}
