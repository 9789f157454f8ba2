// This file compares what a list was with what it is.

package edits

import (
	"fmt"
	"slices"

	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Diff returns what leads from before to after: of the entries, and the suspensions and limits that
// come and go, in words.
func Diff(before, after *fleet.Content) (policy.Plan, []string) {
	return policy.Diff(stateOf(before), stateOf(after)), overrideLines(before, after)
}

// stateOf is what a list lets in, without services.
func stateOf(content *fleet.Content) policy.State {
	entries := make([]policy.Entry, 0, len(content.Claims))
	for _, claim := range content.Claims {
		entries = append(entries, policy.EntryOf(claim))
	}
	return policy.State{Entries: policy.NewEntries(entries)}
}

// overrideLines are the suspensions and limits that come and go, in words.
func overrideLines(before, after *fleet.Content) (lines []string) {
	words := func(c *fleet.Content) (all []string) {
		for _, s := range c.Suspended {
			all = append(all, "suspend "+s.Subject)
		}
		for owner, l := range c.Limits {
			all = append(all, fmt.Sprintf("limit %s %s --burst %d", owner, policy.FormatRate(l.PerSecond), l.Burst))
		}
		return all
	}
	was, is := words(before), words(after)
	for _, line := range was {
		if !slices.Contains(is, line) {
			lines = append(lines, "no longer "+line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}
