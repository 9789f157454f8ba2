package transfer

// This file computes the edit that makes the CLI's state equal to an export.

import (
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Import returns the edit that leads from the overrides of d to x, as by asks for it at now. It
// refuses, as *policy.Refused, a prefix to suspend that is too wide, unless allowAny.
func Import(d desired.State, x desired.Overrides, by api.Caller, allowAny bool, now time.Time) (over desired.OverridesEdit, err error) {
	over = d.Toward(x)
	for _, s := range x.SortedSuspensions() {
		was, again := d.Suspensions[s.Subject]
		if !again && s.Owner == "" && !allowAny {
			if err := policy.GuardSubject(s.Prefix, "suspended"); err != nil {
				return over, err
			}
		}
		if s.Unnoted && again { // it goes on as it is, see Suspend
			s = desired.Holding(s, desired.HoldOf(was).Tightened(d.Policy, s.Nested, now))
		}
		if s.Time.IsZero() {
			if s.Time, s.UID = now.Truncate(time.Second), by.UID; again {
				s.Time, s.UID = was.Time, was.UID
			}
		}
		if !again || !desired.SameSuspension(was, s) {
			over.Suspend = append(over.Suspend, s)
		}
	}
	return over, nil
}

// Loosened are the lines of what o does to was by which somebody is let in who was not.
func Loosened(o desired.OverridesEdit, was desired.Overrides) []string {
	by := desired.OverridesEdit{Resume: o.Resume, Unlimit: o.Unlimit}
	for _, l := range o.Limit {
		if before, limited := was.Limits[l.Owner]; limited && (l.PerSecond > before.PerSecond || l.Burst > before.Burst) {
			by.Limit = append(by.Limit, l)
		}
	}
	lines := by.Lines(was)
	for _, s := range o.Suspend {
		if before, stopped := was.Suspensions[s.Subject]; stopped && (before.Nested && !s.Nested || lacks(s.Held, before.Held) || lacks(before.Stays, s.Stays)) {
			lines = append(lines, "suspend "+s.String()+", which stops less")
		}
	}
	return lines
}

// lacks reports whether one of some is not among all.
func lacks[T comparable](all, some []T) bool {
	had := make(map[T]bool, len(all))
	for _, one := range all {
		had[one] = true
	}
	return slices.ContainsFunc(some, func(one T) bool { return !had[one] })
}
