package main

// This file is `events`: refused packets as they come, of a flood one of many.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func eventsCommand(e env) *cli.Command {
	return e.command("events", "Show who was refused and who enrolled, the newest last", "", []cli.Flag{
		&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Value: 20, Usage: "the last `N` events, 0 is none"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "and those to come, until interrupted"},
	}, showEvents)
}

func showEvents(ctx context.Context, c *call) error {
	n := c.flags.Int("number")
	if n < 0 {
		return &policy.InputError{What: fmt.Sprintf("-n %d is no number of events", n), Hint: "xdpallow events -n 100"}
	}
	lines := eventLines{out: c.out}
	show := lines.show
	if c.json {
		out := json.NewEncoder(c.out)
		show = func(e events.Event) error { return out.Encode(e) }
	}
	err := c.client().Events(ctx, n, c.flags.Bool("follow"), show)
	if err == nil && !c.json && !lines.headed {
		err = c.nothing("nobody refused")
	}
	return err
}

// eventLines prints events as they come: nobody knows the width of a column before.
type eventLines struct {
	out    io.Writer
	headed bool
}

const eventLine = "%-24s  %-7s  %-16s  %-39s  %-9s  %-9s  %8s  %s\n"

// head prints the names of the columns, once.
func (l *eventLines) head() error {
	if l.headed {
		return nil
	}
	l.headed = true
	_, err := fmt.Fprintf(l.out, eventLine, "TIME", "VERDICT", "REASON", "SOURCE", "PORT", "INTERFACE", "PACKETS", "NEAR")
	return err
}

func (l *eventLines) show(e events.Event) error {
	if err := l.head(); err != nil {
		return err
	}
	source, port, near := "-", "-", "-"
	if e.Source.IsValid() {
		source = e.Source.String()
	}
	if e.Port != 0 {
		port = cmp.Or(e.Protocol, "-") + "/" + strconv.Itoa(int(e.Port))
	}
	if e.Expected != "" {
		near = cmp.Or(e.Owner, "nobody") + ", not " + e.Expected
	} else if e.Owner != "" {
		near = e.Owner
	} else if e.Near != nil {
		near = cmp.Or(e.Near.Owner, "-") + " " + e.Near.Prefix.String()
	}
	if e.Lost > 0 {
		if _, err := fmt.Fprintf(l.out, "… %d events lost\n", e.Lost); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(l.out, eventLine, e.Time.UTC().Format(eventTime), e.Verdict, e.Reason, source, port,
		policy.Printable(cmp.Or(e.Interface, "-")), strconv.FormatUint(e.Weight, 10), near)
	return err
}

// eventTime is RFC 3339 to the millisecond: events come in bunches.
const eventTime = "2006-01-02T15:04:05.000Z07:00"
