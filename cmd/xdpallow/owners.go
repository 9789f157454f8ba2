package main

// This file is `owners`: how many openings of each owner pass, and how many do not.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/api"
)

func ownersCommand(e env) *cli.Command {
	return e.command("owners", "Show what became of each owner's connections", "", offlineFlags(), owners)
}

func owners(ctx context.Context, c *call) error {
	answer, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.Owners, error) {
		return from.Owners(ctx)
	})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(answer)
	}
	if len(answer.Owners) == 0 {
		return c.nothing("no owners")
	}
	return fitted(c.out, c.columns, slices.Values(ownerRows(answer)))
}

func ownerRows(answer api.Owners) [][]string {
	rows := [][]string{{"OWNER", "PREFIXES", "PASSED", "DROPPED", "AUDITED", "LAST-SEEN", "LIMIT", "SUSPENDED"}}
	for _, o := range answer.Owners {
		limit, suspended := "-", "-"
		if o.Limit != nil {
			limit = describeLimit(o.Limit)
		}
		if o.Suspended != nil {
			suspended = describeSuspension(*o.Suspended)
		}
		rows = append(rows, []string{
			o.Owner, fmt.Sprint(o.Prefixes), fmt.Sprint(o.Passed), describeDropped(o), fmt.Sprint(o.Audited),
			moment(o.LastSeen), limit, suspended,
		})
	}
	return rows
}

// describeDropped is "7", or "7 (4 expired, 3 suspended)" where several reasons share it.
func describeDropped(o api.Owner) string {
	var reasons []string
	for _, reason := range []string{"expired", "wrong_service", "suspended", "rate_limited"} {
		if n := o.Dropped[reason]; n > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
		}
	}
	if len(reasons) == 0 {
		return fmt.Sprint(o.Refused())
	}
	return fmt.Sprintf("%d (%s)", o.Refused(), strings.Join(reasons, ", "))
}

func describeSuspension(s api.Suspension) string {
	by := cmp.Or(string(s.Origin), fmt.Sprintf("uid %d", s.By))
	return fmt.Sprintf("since %s by %s: %s", moment(&s.Since), by, cmp.Or(s.Reason, "no reason given"))
}
