// This file asks the guard rails of package policy about a change on its way through the
// pipeline.

package reconcile

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// guard asks the guard rails. What stood before is not refused again.
func (e *Engine) guard(c change, next policy.State, plan policy.Plan) error {
	if lines := e.loosened(c); !c.force.AllowOpen && len(lines) > 0 {
		return &policy.Refused{What: "this would let in who is stopped, or more of who is limited: " + strings.Join(lines, ", "), Hint: "--allow-open"}
	}
	now := time.Now()
	if c.verb == policy.VerbFollow && c.follow[0].Origin.Followed() {
		origin := c.follow[0].Origin
		had, gone, left := follow.Loses(origin, e.enforced.Policy, next, c.edit.Claims, now)
		if err := follow.Guard(origin, had, gone, left, c.force); err != nil {
			return err
		}
	}
	if plan.Empty() || c.verb == "" {
		return nil
	}
	if err := policy.Guard(e.enforced.Policy, next, plan, c.verb, c.force, now); err != nil {
		return policy.Guard(e.enforced.Policy, next, c.placed(plan), c.verb, c.force, now)
	}
	if c.force.CutSessions {
		return nil
	}
	return impact.Guard(e.enforced.Policy, next, c.peers, c.logins, c.verb, now)
}

// loosened are lines on who would be let in by an import, or because a list is forgotten that stops him.
func (e *Engine) loosened(c change) (lines []string) {
	if c.verb == policy.VerbImport {
		lines = transfer.Loosened(c.edit.Overrides, e.enforced.Overrides)
	}
	for origin, by := range c.edit.Fleets {
		if c.verb != "" && c.verb != policy.VerbFollow {
			lines = append(lines, transfer.Loosened(by, e.enforced.Fleets[origin])...)
		}
	}
	return lines
}

// placed is plan with the places that its claims had.
func (c change) placed(plan policy.Plan) policy.Plan {
	if c.read == nil {
		return plan
	}
	read := c.read()
	place := func(entries []policy.Entry) []policy.Entry {
		entries = slices.Clone(entries)
		for i := range entries {
			at, found := slices.BinarySearchFunc(read, entries[i].Prefix, func(c policy.Claim, p netip.Prefix) int { return policy.ComparePrefix(c.Prefix, p) })
			if found {
				entries[i] = entries[i].At(policy.OriginCLI, read[at].Where)
			}
		}
		return entries
	}
	plan.Added, plan.Changed = place(plan.Added), place(plan.Changed)
	return plan
}
