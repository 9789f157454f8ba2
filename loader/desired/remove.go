// This file says what remove makes of a state, and what it refuses.

package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Remove returns the entries whose claim by the CLI r takes away at now, sorted; none is
// there where r asks for all that have ended and none has. It refuses, as *policy.Refused
// or *policy.InputError, a removal that would not do what its words say: the prefix would
// go on being listed, and the operator would not know.
func (d State) Remove(r api.RemoveRequest, now time.Time) (gone []policy.Entry, err error) {
	prefixes, err := d.toRemove(r, now)
	if err != nil {
		return nil, err
	}
	if !r.Expired { // what has ended lets nobody in, wherever else the prefix stands
		if err := d.removable(prefixes); err != nil {
			return nil, err
		}
	}
	for _, prefix := range prefixes {
		if entry, found := d.Policy.Entries.Find(prefix); found {
			gone = append(gone, *entry)
		} else { // for a service that is not there
			gone = append(gone, policy.EntryOf(d.Orphans()[prefix]))
		}
	}
	return gone, nil
}

// Without is the edit that takes the CLI's claims of entries away.
func Without(entries []policy.Entry) Edit {
	edit := Edit{}
	for i := range entries {
		edit.Claims.Remove = append(edit.Claims.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: entries[i].Prefix})
	}
	return edit
}

// toRemove returns the prefixes that r means, sorted.
func (d State) toRemove(r api.RemoveRequest, now time.Time) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	if r.Expired {
		for claim := range d.EndedMade(now) {
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
		for claim := range d.Made() {
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

// removable refuses a removal that would not do what its words say: the prefix would go on being
// listed by a file, which is to be edited. A list from elsewhere cannot be, see StillListed.
func (d State) removable(prefixes []netip.Prefix) error {
	for _, prefix := range prefixes {
		entry, found := d.Policy.Entries.Find(prefix)
		if _, made := d.Claimed(prefix); !made {
			if found {
				where, hint := entry.DeclaredAt(), "edit it there, then: xdpallow reload"
				if where == "" { // lists that nobody here can edit
					by := entry.Origins()[0]
					where, hint = string(by), "xdpallow suspend "+prefix.String()
					if _, fleet := by.Etcd(); fleet {
						hint = api.InList(by, "remove "+prefix.String())
					}
				}
				return &policy.Refused{What: fmt.Sprintf("%s was not made by add: it stands in %s", prefix, where), Hint: hint}
			}
			what := prefix.String() + " is not on the list"
			for covering := range d.Policy.Entries.Covering(prefix) {
				what += fmt.Sprintf("; it is allowed by %s", covering.Prefix)
				break
			}
			return &policy.Refused{What: what, Hint: "xdpallow check " + prefix.Addr().String()}
		}
		if !found { // for a service that is not there
			continue
		}
		if by := entry.DeclaredAt(); by != "" {
			return &policy.Refused{What: fmt.Sprintf("%s would still be allowed, by %s", prefix, by), Hint: "take it out there, then: xdpallow reload"}
		}
	}
	return nil
}

// StillListed says which entries of after list at now what the removed entries listed, one
// a prefix at most.
func StillListed(after policy.State, removed []policy.Entry, now time.Time) (still []api.Still) {
	for i := range removed {
		gone := &policy.Entry{Prefix: removed[i].Prefix}
		if prefix, owner := after.SuspendedBy(gone); prefix.IsValid() || owner != "" {
			continue
		}
		for around := range after.Entries.Covering(gone.Prefix) {
			if shares(after, around, removed[i].Services(), now) {
				one := api.Still{Prefix: gone.Prefix, By: around.Prefix, Owner: around.Owner()}
				if around.Prefix == gone.Prefix {
					one.Origin = around.Origins()[0]
				}
				still = append(still, one)
				break
			}
		}
	}
	return still
}

// shares reports whether around lets sources in at now for one of services, nil being all.
func shares(state policy.State, around *policy.Entry, services []string, now time.Time) bool {
	if len(services) == 0 {
		services = []string{""}
	}
	return slices.ContainsFunc(services, func(name string) bool {
		return state.Grants(around, name, now)
	})
}
