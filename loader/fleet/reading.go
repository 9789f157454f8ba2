package fleet

// This file makes a reading of a manifest, or says why it is none: what a host refuses of a list,
// whoever wrote it.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// takeOver hands what state says to take. It returns an error where that is no list to hand on.
func (f *follower) takeOver(ctx context.Context, client *Client, state State, take take) error {
	m, err := state.Choose(f.settings.Etcd.Group)
	if err != nil {
		return err
	}
	if f.fleet != "" && m.Fleet != f.fleet {
		return &Problem{Key: state.List.Key, Err: layout.ErrChanged}
	}
	if err := m.Succeeds(f.have); err != nil {
		return &Problem{Key: state.List.Key, Err: err}
	}
	if m.Entries == 0 && !m.AllowEmpty {
		return &policy.Refused{What: state.List.Key + ": nothing is listed there", Hint: "xdpallow fleet history"}
	}
	reading := source.Reading{Origin: f.Origin(), Mark: m.Mark(), Sum: m.Sum}
	if f.seen != nil && f.seen.Same(m) {
		if f.refused {
			return nil
		}
		reading.Edit = &policy.Edit{}
		_ = take(ctx, reading)
		return nil
	}
	after, reading, err := f.reading(ctx, client, m, reading)
	if err != nil {
		return err
	}
	err = take(ctx, reading)
	f.seen, f.refused = m, isRefusal(err)
	if err == nil {
		f.have, f.list, f.fleet, f.whole = m, after, m.Fleet, false
		f.serial.Store(m.Serial)
		signal(f.told)
	} else if !f.refused {
		f.seen = nil // it was not the list: try again
	}
	return nil
}

// reading is m as it is handed on, and the list that it comes to.
func (f *follower) reading(ctx context.Context, client *Client, m *layout.Manifest, r source.Reading) (layout.List, source.Reading, error) {
	if most := f.settings.Limits.Entries; m.Entries > most { // none of them is fetched
		return layout.List{}, r, &policy.InputError{Where: string(f.Origin()), What: fmt.Sprintf("%d entries are over max_entries %d", m.Entries, most)}
	}
	after, delta, err := client.Load(ctx, f.settings.Etcd.List, m, f.have, f.list, func() { wait(ctx, f.spread()) })
	if err != nil {
		return layout.List{}, r, err
	}
	switch {
	case f.whole:
		r.Claims, err = after.Claims(f.Origin())
	case delta:
		var edit policy.Edit
		edit, err = m.Delta.Edit(f.Origin())
		r.Edit = &edit
	default:
		var edit policy.Edit
		edit, err = f.list.EditTo(after, f.Origin())
		r.Edit = &edit
	}
	if err != nil {
		return layout.List{}, r, err
	}
	claims := r.Claims
	if r.Edit != nil {
		claims = r.Edit.Put
	}
	if err := f.check(m, claims); err != nil {
		return layout.List{}, r, err
	}
	r.Why, r.Fleet, r.Manifest, r.Overrides = m.Why(), m.Fleet, m.Encode(), overridesOf(m)
	r.Force = policy.Force{AllowEmpty: m.AllowEmpty, AllowAny: m.AllowAny, ForceShrink: true}
	return after, r, nil
}

// check holds m, of which claims are new here, to the limits of this host.
func (f *follower) check(m *layout.Manifest, claims []policy.Claim) error {
	limits := f.settings.Limits
	if m.AllowAny && limits.Widest4 == source.EtcdLimits.Widest4 && limits.Widest6 == source.EtcdLimits.Widest6 {
		limits.Widest4, limits.Widest6 = 0, 0 // which nobody here set otherwise
	}
	return limits.Check(string(f.Origin()), claims)
}

func (f *follower) spread() time.Duration {
	return time.Duration(rand.Float64() * float64(f.times.Spread))
}

// overridesOf are what m says of owners and prefixes, whoever lists them.
func overridesOf(m *layout.Manifest) *source.Overrides {
	o := new(source.Overrides)
	for _, s := range m.Suspended {
		subject, _ := layout.ParseSubject(s.Subject) // Decode has read it
		o.Suspended = append(o.Suspended, source.Suspension{Subject: subject, Reason: s.Reason, Since: s.Since, Nested: s.Nested})
	}
	for owner, limit := range m.Limits {
		o.Limits = append(o.Limits, source.Limit{Owner: owner, PerSecond: limit.PerSecond, Burst: limit.Burst})
	}
	return o
}

// trouble gives errors that an operator must tell apart a code of their own.
func trouble(err error) error {
	switch {
	case errors.Is(err, layout.ErrChanged):
		return &source.Trouble{Code: "fleet_changed", What: err.Error() + ": its cluster was wiped, or another one answers", Hint: "xdpallow fleet status"}
	case errors.Is(err, layout.ErrOlder):
		return &source.Trouble{Code: "fleet_older", What: err.Error() + ": was a backup restored? The next change of the fleet is above it", Hint: "xdpallow fleet status"}
	}
	return err
}

// isRefusal reports whether take refused what was read, and not how: it would refuse it again.
func isRefusal(err error) bool {
	_, refused := errors.AsType[*policy.Refused](err)
	_, wrong := errors.AsType[*policy.InputError](err)
	return refused || wrong
}
