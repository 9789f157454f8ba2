// Package follow keeps the status of followed origins: what of a reading was taken over, and what
// `status` reports. It takes no lock, and reads nothing.
package follow

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Origin is how it goes with one origin. A copy is as the origin was.
type Origin struct {
	store.OriginState
	Failing error         // why its last reading was not taken over, or nil
	Every   time.Duration // how often it is looked at; 0: the config file does not name it
	Force   policy.Force  // of the reload before its next reading
}

// Origins are the origins that the config file names, and those that the store has.
type Origins map[policy.Origin]Origin

// Kept returns the origins that the store has, before any config file is read.
func Kept(states map[policy.Origin]store.OriginState) Origins {
	all := Origins{}
	for origin, state := range states {
		if state.Suspended, state.Limits = nil, nil; origin.Followed() { // they are in what is desired
			all[origin] = Origin{OriginState: state}
		}
	}
	return all
}

// Name names the origins that settings follow. The next reading of each is taken over with force.
func (o Origins) Name(settings []source.Settings, force policy.Force) {
	for _, origin := range o.Unnamed(settings) {
		one := o[origin]
		one.Every, one.Failing = 0, nil // that it is not followed is what there is to say
		o[origin] = one
	}
	for _, s := range settings {
		one := o[s.Origin()]
		one.Every = max(s.Every, time.Second)
		one.Force = policy.Force{AllowEmpty: force.AllowEmpty, AllowAny: force.AllowAny, ForceShrink: force.ForceShrink}
		o[s.Origin()] = one
	}
}

// Marshal is settings for the store.
func Marshal(settings []source.Settings) []byte {
	text, err := json.Marshal(settings)
	if err != nil {
		panic(err) // texts, numbers and lists of them always are JSON
	}
	return text
}

// Same reports whether a and b follow the same in the same way; nil, which is not known, is nothing.
func Same(a, b []source.Settings) bool {
	return !Adds(a, b) && !Adds(b, a)
}

// Adds reports whether after follows an origin that before did not, or not in this way.
func Adds(before, after []source.Settings) bool {
	return slices.ContainsFunc(after, func(s source.Settings) bool {
		return !slices.ContainsFunc(before, func(b source.Settings) bool { return reflect.DeepEqual(b, s) })
	})
}

// Unnamed returns the origins that are kept and not in settings, sorted.
func (o Origins) Unnamed(settings []source.Settings) (gone []policy.Origin) {
	for _, origin := range slices.Sorted(maps.Keys(o)) {
		if !slices.ContainsFunc(settings, func(s source.Settings) bool { return s.Origin() == origin }) {
			gone = append(gone, origin)
		}
	}
	return gone
}

// Foretell says what a start finds of each list in settings, of which there is what kept has, and what it
// forgets, which settings do not name; nil, which is not known, is nothing.
func Foretell(settings []source.Settings, kept []policy.Claim) (told []string) {
	if settings == nil {
		return nil
	}
	entries := map[policy.Origin]int{}
	for _, claim := range kept {
		if claim.Origin.Followed() {
			entries[claim.Origin]++
		}
	}
	for _, s := range settings {
		text := "nothing is kept: whom it would let in is dropped until it is read"
		if n := entries[s.Origin()]; n > 0 {
			text = policy.Count(n, "entry is", "entries are") + " kept, and enforced until it is read"
		}
		told = append(told, fmt.Sprintf("%s: %s", s.Origin(), text))
		delete(entries, s.Origin())
	}
	for _, origin := range slices.Sorted(maps.Keys(entries)) {
		told = append(told, fmt.Sprintf("%s is no longer named: %s would be forgotten", origin, policy.Count(entries[origin], "entry", "entries")))
	}
	return told
}

// Before is what the undo of a change needs of o, see undo.Back: the state of each origin that the
// change forgets, or after which it is not followed as it was before.
func (o Origins) Before(before, after []source.Settings, forget []policy.Origin) map[policy.Origin]*store.OriginState {
	if after == nil { // not known: they are followed as before
		after = before
	}
	all := map[policy.Origin]*store.OriginState{}
	for origin, one := range o {
		all[origin] = nil
		others := func(s source.Settings) bool { return s.Origin() != origin }
		if slices.Contains(forget, origin) || Adds(after, slices.DeleteFunc(slices.Clone(before), others)) {
			all[origin] = &one.OriginState
		}
	}
	return all
}

// Seen returns o after its reading was taken over at now, or was found to be what it was.
func (o Origin) Seen(r source.Reading, now time.Time) Origin {
	o.Failing, o.Force = nil, policy.Force{}
	o.Mark, o.Sum, o.At = r.Mark, r.Sum, now.UTC().Truncate(time.Second)
	o.Fleet = cmp.Or(r.Fleet, o.Fleet)
	if r.Manifest != nil {
		o.Manifest = r.Manifest
	}
	return o
}

// Status is what status tells of o beside what it claims.
func (o Origin) Status(s *api.OriginStatus) {
	s.Mark, s.State = o.Mark, "current"
	if !o.At.IsZero() {
		s.LastSuccess = &o.At
	}
	switch {
	case o.At.IsZero():
		s.State = "pending"
	case o.Failing != nil:
		s.State = "failing"
	}
	if o.Failing != nil {
		s.Error = o.Failing.Error()
	}
}

// NotTaken says that a reading was not taken over because of err.
func (o Origin) NotTaken(err error) string {
	if o.At.IsZero() {
		return fmt.Sprintf("not taken over: %v", err)
	}
	return fmt.Sprintf("not taken over, what it said last is enforced: %v", err)
}

// stale is how long an origin may be out of reach before that is a problem of its own.
const stale = 15 * time.Minute

// Problems are what the operator should mend. entries is how many there are in all, and aside
// how many of each origin are not enforced because a stronger one says whose they are.
func (o Origins) Problems(entries int, aside map[policy.Origin]int, now time.Time) (problems []api.Problem) {
	for _, origin := range slices.Sorted(maps.Keys(o)) {
		one := o[origin]
		tell := func(p api.Problem) {
			p.Subject = string(origin)
			problems = append(problems, p)
		}
		if one.At.IsZero() && one.Every > 0 {
			text := "no list yet: whom it would let in is dropped"
			if entries == 0 {
				text = "no list yet: everybody is dropped"
			}
			tell(api.Problem{Code: "origin_pending", Text: text, Hint: "xdpallow reload"})
		}
		if one.Every == 0 && one.Failing == nil {
			tell(api.Problem{Code: "origin_failing", Text: "not followed: what it said last is enforced, and no change of it is heard of", Hint: "xdpallow reload"})
		}
		if one.Failing != nil {
			hint := "xdpallow reload"
			if r, ok := errors.AsType[*policy.Refused](one.Failing); ok && r.Hint != "" {
				hint = r.Hint
			}
			if t, ok := errors.AsType[*source.Trouble](one.Failing); ok && t.Hint != "" {
				hint = t.Hint
			}
			tell(api.Problem{Code: Code(one.Failing), Text: one.NotTaken(one.Failing), Hint: hint})
		}
		if silent := now.Sub(one.At); one.Every > 0 && !one.At.IsZero() && silent > max(stale, 3*one.Every) {
			how := "out of reach"
			if one.Failing != nil { // it may well answer, and be refused
				how = "not taken over"
			}
			tell(api.Problem{
				Code: "origin_stale", Hint: "xdpallow status",
				Text: fmt.Sprintf("%s for %v, since %s: what it said last is enforced", how, silent.Round(time.Minute), one.At.Format(time.RFC3339)),
			})
		}
		if n := aside[origin]; n > 0 {
			tell(api.Problem{
				Code: "claims_aside", Hint: "xdpallow list",
				Text: fmt.Sprintf("%s not enforced: a stronger origin says that they are another owner's", policy.Count(n, "entry is", "entries are")),
			})
		}
	}
	return problems
}
