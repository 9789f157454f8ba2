package query

import (
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file turns what is desired and stored into what crosses the control socket.

// Services are the services as they are now, with the end of an audit that has one.
func (v *View) Services() []api.Service {
	all := []api.Service{}
	for _, s := range v.Policy.Services {
		now := api.Service{Service: s}
		if s.Mode != policy.Audit && v.Auditing(s, compile.Boottime()) {
			now.Mode, now.Until = policy.Audit, v.Clock.At(v.Audits.Until(s))
		}
		all = append(all, now)
	}
	return all
}

// SuspensionOf is what stops s by its own name, nil for nothing.
func SuspensionOf(d desired.State, s policy.Subject) *api.Suspension {
	by, origin, found := d.SuspensionOf(s)
	if !found {
		return nil
	}
	one := suspensionOf(origin, by)
	return &one
}

func suspensionOf(by policy.Origin, s store.Suspension) api.Suspension {
	return api.Suspension{
		Subject: s.Subject.String(), Reason: s.Reason, Since: s.Time, By: s.UID, Nested: s.Nested, Held: len(s.Held), Origin: elsewhere(by),
	}
}

// elsewhere is origin as it is reported of suspensions and limits, "" for commands here.
func elsewhere(origin policy.Origin) policy.Origin {
	if origin == policy.OriginCLI {
		return ""
	}
	return origin
}

// SuspensionsOf reports all of d, each layer with its prefixes by address, then its owners by name.
func SuspensionsOf(d desired.State) []api.Suspension {
	all := []api.Suspension{}
	for origin, s := range d.EverySuspension {
		all = append(all, suspensionOf(origin, s))
	}
	return all
}

// LimitOf is the limit of an owner, nil for none.
func LimitOf(d desired.State, owner string) *api.Limit {
	l, by, found := d.LimitOf(owner)
	if !found {
		return nil
	}
	return &api.Limit{PerSecond: l.PerSecond, Burst: l.Burst, Origin: elsewhere(by)}
}

// WaitingOf is what is reported of a change that waits for its confirmation for so long yet.
func WaitingOf(c store.Confirm, left time.Duration) *api.Waiting {
	return &api.Waiting{Command: c.Command, Generation: c.Generation, Deadline: c.Deadline, Left: int(max(left, 0).Round(time.Second) / time.Second)}
}

// originsOf reports every origin of counts, with the error of its last reading, sorted.
func (v *View) originsOf(counts map[policy.Origin]int, failing map[policy.Origin]error, followed follow.Origins) []api.OriginStatus {
	all := []api.OriginStatus{}
	for _, origin := range slices.Sorted(maps.Keys(counts)) {
		s := api.OriginStatus{Name: origin, Entries: counts[origin]}
		if err := failing[origin]; err != nil {
			s.Error = err.Error()
		}
		if one, found := followed[origin]; found {
			s.Aside = v.NotEnforced(origin)
			one.Status(&s)
		}
		all = append(all, s)
	}
	return all
}

// ChangeOf is what status tells of a record.
func ChangeOf(r store.Record) *api.Change {
	return &api.Change{Time: r.Time, Generation: r.After, Command: r.Command, Reason: r.Reason, UID: r.UID, PID: r.PID, LoginUID: r.LoginUID}
}

// ServiceChangesOf reports changes; nil for none.
func ServiceChangesOf(changes []policy.ServiceChange) []api.ServiceChange {
	var out []api.ServiceChange
	for _, c := range changes {
		out = append(out, api.ServiceChange{Name: c.Name(), ServiceChange: c})
	}
	return out
}

// ForeseenOf reports whom a change cuts off, and what refuses it or nil.
func ForeseenOf(cuts []api.Cut, refused *policy.Refused) api.Foreseen {
	f := api.Foreseen{Cuts: cuts}
	if refused != nil {
		f.Refused = &api.Refusal{What: refused.What, Hint: refused.Hint}
	}
	return f
}
