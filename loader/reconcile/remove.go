package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Remove takes CLI claims away, all or none. It refuses when a named prefix had no
// claim, or is declared as well, and says where. What a wider entry lists still it takes
// away, and says by which.
func (e *Engine) Remove(ctx context.Context, by Caller, r RemoveRequest) (Listing, error) {
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

func (e *Engine) remove(ctx context.Context, by Caller, r RemoveRequest) (Listing, error) {
	if err := e.begin(ctx); err != nil {
		return Listing{}, err
	}
	defer e.mu.Unlock()
	prefixes, err := e.toRemove(r)
	if err != nil {
		return Listing{}, err
	}
	if r.Expired && len(prefixes) == 0 {
		listing, changed := e.listing(nil), false
		listing.Changed = &changed
		return listing, nil
	}
	if err := e.removable(prefixes); err != nil && !r.Expired { // what has ended lets nobody in, wherever else the prefix stands
		return Listing{}, err
	}
	var gone []policy.Entry
	var taken []policy.Claim // for the log
	edit := policy.Edit{}
	for _, prefix := range prefixes {
		edit.Remove = append(edit.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: prefix})
		if entry, found := e.view.Policy.Entries.Find(prefix); found {
			gone = append(gone, *entry)
		} else { // for a service that is not there
			c := e.view.Orphans()[prefix]
			gone = append(gone, policy.Entry{Prefix: prefix, Owner: c.Owner, Services: c.Services, Until: c.Until, Note: c.Note, Claims: []policy.Claim{c}})
		}
	}
	for _, entry := range gone {
		taken = append(taken, policy.Claim{Prefix: entry.Prefix, Owner: entry.Owner})
	}
	assess, err := assessed(r.Seen)
	if err != nil {
		return Listing{}, err
	}
	before := e.view.query().Entries(gone)
	o, err := e.make(change{
		by: by, command: "remove", verb: policy.VerbRemove, force: policy.Force{AllowEmpty: r.AllowEmpty}, edit: desired.Edit{Claims: edit}, peers: r.Sessions,
		dryRun: r.DryRun, assess: assess,
	})
	if err != nil {
		return Listing{}, err
	}
	listing := e.listing(nil)
	listing.Entries, listing.Total, listing.Foreseen = before, o.next.Entries.Len(), o.foreseen()
	listing.Still = e.stillListed(o.next, gone)
	if r.DryRun {
		return listing, nil
	}
	changed := true
	listing.Changed = &changed
	e.options.Log.Info(fmt.Sprintf("removed %s: generation %d", namedClaims(taken), e.view.gate.Tables.Generation()), attributes(by)...)
	return listing, nil
}

// toRemove returns the prefixes that r means, sorted.
func (e *Engine) toRemove(r RemoveRequest) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	if r.Expired {
		for claim := range e.view.EndedMade(e.view.now()) {
			if r.Owner == "" || claim.Owner == r.Owner {
				prefixes = append(prefixes, claim.Prefix)
			}
		}
		slices.SortFunc(prefixes, policy.ComparePrefix)
		return prefixes, nil
	}
	for _, text := range r.Prefixes {
		prefix, _, err := policy.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, prefix)
	}
	if r.Owner != "" {
		if err := policy.ParseName("owner", r.Owner); err != nil {
			return nil, err
		}
		for claim := range e.view.Made() {
			if claim.Owner == r.Owner {
				prefixes = append(prefixes, claim.Prefix)
			}
		}
		if len(prefixes) == 0 {
			return nil, &policy.Refused{What: "no prefix that add made belongs to " + r.Owner, Hint: "xdpallow list --owner " + r.Owner}
		}
	}
	if len(prefixes) == 0 {
		return nil, &policy.InputError{What: "no prefix to remove", Hint: "xdpallow remove 192.0.2.0/24"}
	}
	slices.SortFunc(prefixes, policy.ComparePrefix)
	return slices.Compact(prefixes), nil
}

// removable refuses a removal that would not do what its words say: the prefix would go
// on being listed, and the operator would not know.
func (e *Engine) removable(prefixes []netip.Prefix) error {
	for _, prefix := range prefixes {
		entry, found := &policy.Entry{}, false
		if at, listed := e.view.Policy.Entries.Find(prefix); listed {
			entry, found = at, true
		}
		if e.view.Claimed(prefix) == nil {
			if found {
				return &policy.Refused{
					What: fmt.Sprintf("%s was not made by add: it stands in %s", prefix, entry.DeclaredAt()),
					Hint: "edit it there, then: xdpallow reload",
				}
			}
			what := prefix.String() + " is not on the list"
			for covering := range e.view.Policy.Entries.Covering(prefix) {
				what += fmt.Sprintf("; it is allowed by %s", covering.Prefix)
				break
			}
			return &policy.Refused{What: what, Hint: "xdpallow check " + prefix.Addr().String()}
		}
		if by := entry.DeclaredAt(); by != "" {
			return &policy.Refused{
				What: fmt.Sprintf("%s would still be allowed, by %s", prefix, by),
				Hint: "take it out there, then: xdpallow reload",
			}
		}
	}
	return nil
}

// stillListed says which entries of after list what the removed entries listed, one a
// prefix at most.
func (e *Engine) stillListed(after policy.State, removed []policy.Entry) (still []Still) {
	for i := range removed {
		gone := &policy.Entry{Prefix: removed[i].Prefix}
		if prefix, owner := after.SuspendedBy(gone); prefix.IsValid() || owner != "" {
			continue
		}
		for around := range after.Entries.Covering(gone.Prefix) {
			if e.shares(after, around, removed[i].Services) {
				still = append(still, Still{Prefix: gone.Prefix, By: around.Prefix, Owner: around.Owner})
				break
			}
		}
	}
	return still
}

// shares reports whether around lets sources in now for one of services, nil being all.
func (e *Engine) shares(state policy.State, around *policy.Entry, services []string) bool {
	if len(services) == 0 {
		services = []string{""}
	}
	return slices.ContainsFunc(services, func(name string) bool {
		return state.Grants(around, name, e.view.now())
	})
}
