package query

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file reports entries with their use.

// Entries reports entries with their use, and without it where it cannot be read: a change
// that is made is reported whatever happens.
func (v *View) Entries(entries []policy.Entry) []api.Entry {
	all := make([]*policy.Entry, len(entries))
	for i := range entries {
		all[i] = &entries[i]
	}
	out, err := v.Report(all)
	if err != nil {
		out = out[:0]
		for _, e := range entries {
			out = append(out, EntryOf(e, store.Use{}))
		}
	}
	return out
}

// Entry reports one of them.
func (v *View) Entry(e *policy.Entry) api.Entry { return v.Entries([]policy.Entry{*e})[0] }

// chunk is how many entries are looked up in one go.
const chunk = 4096

// Report returns entries with their use. The error is that of reading it.
func (v *View) Report(entries []*policy.Entry) ([]api.Entry, error) {
	out := make([]api.Entry, 0, len(entries))
	prefixes := make([]netip.Prefix, 0, min(len(entries), chunk))
	for len(entries) > 0 {
		some := entries[:min(len(entries), chunk)]
		entries = entries[len(some):]
		prefixes = prefixes[:0]
		for _, e := range some {
			prefixes = append(prefixes, e.Prefix)
		}
		used, err := v.Usage.Of(prefixes, nil)
		if err != nil {
			return nil, err
		}
		for i, e := range some {
			out = append(out, v.placed(EntryOf(*e, used[i]), e))
		}
	}
	return out, nil
}

// placed is one, which reports e, with what holds at its place in the list.
func (v *View) placed(one api.Entry, e *policy.Entry) api.Entry {
	one.Suspended = v.Policy.IsSuspended(e)
	one.Ended = policy.HasEnded(e.Until(), v.Now())
	if prefix, owner := v.Policy.SuspendedBy(e); prefix.IsValid() || owner != "" {
		subject := policy.Subject{Prefix: prefix, Owner: owner}
		_, by, _ := v.SuspensionOf(subject)
		one.SuspendedBy, one.SuspendedIn = subject.String(), elsewhere(by)
	}
	if owner := v.Policy.OwnerOf(e); owner != e.Owner() {
		one.CountsFor = owner
	}
	return one
}

// EntryOf reports e with its use.
func EntryOf(e policy.Entry, use store.Use) api.Entry {
	r := api.Entry{
		Prefix: e.Prefix, Owner: e.Owner(), Services: e.Services(), Until: some(e.Until()), Note: e.Note(),
		Origins: e.Origins(), Hits: use.Hits, Suspended: e.Suspended,
		LastSeen: some(use.LastSeen), FirstEnforced: some(use.FirstEnforced),
	}
	if r.Services == nil {
		r.Services = []string{}
	}
	return r
}

// some is nil for the zero time, which is "never".
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
