package main

// This file is the commands that show a fleet: its list, its hosts, and what the list was.

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/tabular"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/fleet/edits"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

func fleetListCommand(e env) *cli.Command {
	return e.command("fleet list", "Show who is on the list of every host", "[OWNER|PREFIX|ADDR]", fleetFlags(
		&cli.StringFlag{Name: "owner", Usage: "only the prefixes of `OWNER`; - is those of none"},
		&cli.BoolFlag{Name: "expired", Usage: "only what has ended"},
	), onFleet(fleetList))
}

func fleetList(ctx context.Context, c *fleetCall) error {
	req, err := c.listed()
	if err != nil {
		return err
	}
	view, err := c.client.View(ctx, c.list, true)
	if err != nil {
		return err
	}
	claims, err := view.List.Claims(policy.EtcdOrigin(c.fleet, c.list))
	if err != nil {
		return err
	}
	now := time.Now()
	var entries []policy.Entry
	for _, claim := range claims {
		if (req.Owner == "" || claim.Owner == req.Owner || claim.Owner == "" && req.Owner == api.NoOwner) &&
			(!req.Prefix.IsValid() || claim.Prefix.Overlaps(req.Prefix)) &&
			(!req.Expired || policy.HasEnded(claim.Until, now)) {
			entries = append(entries, policy.EntryOf(claim))
		}
	}
	switch {
	case c.json:
		listing := api.Listing{Total: len(claims), Entries: entriesOf(entries)}
		if view.Manifest != nil {
			listing.Generation = view.Manifest.Serial
		}
		return writeListing(c.out, listing)
	case c.text:
		return policy.WriteLines(c.out, func(yield func(policy.Claim) bool) {
			for i := range entries {
				for _, claim := range entries[i].Claims() {
					if !yield(claim) {
						return
					}
				}
			}
		})
	case len(entries) == 0:
		return c.nothing("no prefixes")
	}
	return fitted(c.out, c.columns, listRows(entries))
}

func listRows(entries []policy.Entry) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		if !yield([]string{"PREFIX", "OWNER", "SERVICES", "UNTIL", "NOTE"}) {
			return
		}
		for _, e := range entries {
			until := "-"
			if t := e.Until(); !t.IsZero() {
				until = moment(&t)
			}
			if !yield([]string{e.Prefix.String(), cmp.Or(e.Owner(), "-"), cmp.Or(strings.Join(e.Services(), ","), "all"), until, cmp.Or(e.Note(), "-")}) {
				return
			}
		}
	}
}

func fleetStatusCommand(e env) *cli.Command {
	return e.command("fleet status", "Show the hosts of a fleet, and what they have", "", fleetFlags(
		watchFlag("show it every `INTERVAL`, as 1s, until interrupted"),
	), onFleet(func(ctx context.Context, c *fleetCall) error {
		interval, watching, err := c.interval()
		if err != nil {
			return err
		}
		if !watching {
			return c.status(ctx)
		}
		return every(ctx, interval, func() error { return c.status(ctx) })
	}))
}

// fleetStatus is the JSON of fleet status.
type fleetStatus struct {
	Fleet     string                  `json:"fleet"`
	ID        string                  `json:"id"`
	List      string                  `json:"list"`
	Serial    uint64                  `json:"serial"`
	Total     int                     `json:"total"`
	Time      *time.Time              `json:"time"`
	By        string                  `json:"by"`
	Command   string                  `json:"command"`
	Reason    string                  `json:"reason"`
	Waiting   *fleetWaiting           `json:"waiting"` // for confirmation; null is none
	Suspended []layout.Suspension     `json:"suspended"`
	Limits    map[string]layout.Limit `json:"limits"`
	Hosts     []fleet.Host            `json:"hosts"`
}

type fleetWaiting struct {
	Serial  uint64 `json:"serial"`
	Group   string `json:"group"`
	By      string `json:"by"`
	Command string `json:"command"`
}

func (c *fleetCall) status(ctx context.Context) error {
	view, err := c.client.View(ctx, c.list, false)
	if err != nil {
		return err
	}
	s := fleetStatus{
		Fleet: c.fleet, ID: view.ID, List: c.list, Hosts: append([]fleet.Host{}, view.Hosts...),
		Suspended: []layout.Suspension{}, Limits: map[string]layout.Limit{},
	}
	if m := view.Manifest; m != nil {
		s.Serial, s.Total, s.Time, s.By, s.Command, s.Reason = m.Serial, m.Entries, &m.Time, m.By, m.Command, m.Reason
		s.Suspended = append(s.Suspended, m.Suspended...)
		if m.Limits != nil {
			s.Limits = m.Limits
		}
	}
	if m := view.Next; m != nil {
		s.Waiting = &fleetWaiting{m.Serial, m.First.Group, m.By, m.Command}
	}
	if c.json {
		return c.printJSON(s)
	}
	fmt.Fprintln(c.out, fleetHead(s))
	if s.Waiting != nil {
		fmt.Fprintf(c.out, "waits for confirmation in group %s: serial %d by %s: %s\n", s.Waiting.Group, s.Waiting.Serial, s.Waiting.By, s.Waiting.Command)
	}
	for _, one := range s.Suspended {
		fmt.Fprintf(c.out, "suspended %s since %s by %s (%s)\n", one.Subject, moment(&one.Since), cmp.Or(one.By, "-"), cmp.Or(one.Reason, "-"))
	}
	for _, owner := range slices.Sorted(maps.Keys(s.Limits)) {
		fmt.Fprintf(c.out, "limit %s %s, burst %d, on each host\n", owner, policy.FormatRate(s.Limits[owner].PerSecond), s.Limits[owner].Burst)
	}
	if len(s.Hosts) == 0 {
		return c.nothing("no host has come yet")
	}
	return fitted(c.out, c.columns, slices.Values(hostRows(s)))
}

func fleetHead(s fleetStatus) string {
	name := s.Fleet
	if s.List != fleet.Main {
		name += "/" + s.List
	}
	if s.Serial == 0 {
		return fmt.Sprintf("FLEET %s  no list yet: xdpallow fleet add", name)
	}
	head := fmt.Sprintf("FLEET %s  serial %d  %s  %d by %s: %s", name, s.Serial, policy.Count(s.Total, "prefix", "prefixes"),
		s.Serial, s.By, tabular.Brief(s.Command, roomForCommand))
	if s.Reason != "" {
		head += " (" + s.Reason + ")"
	}
	return head
}

func hostRows(s fleetStatus) [][]string {
	rows := [][]string{{"HOST", "GROUP", "SERIAL", "SEEN", "PREFIXES", "ENFORCING", "PROBLEMS"}}
	for _, h := range s.Hosts {
		if h.Silent {
			rows = append(rows, []string{h.Name, cmp.Or(h.Group, "-"), "-", "silent", "-", "-", "-"})
			continue
		}
		rows = append(rows, []string{
			h.Name, cmp.Or(h.Group, "-"), fmt.Sprint(h.Serial), "now", fmt.Sprint(h.Prefixes),
			cmp.Or(h.Enforcing, "-"), cmp.Or(strings.Join(h.Problems, ","), "-"),
		})
	}
	return rows
}

func fleetHistoryCommand(e env) *cli.Command {
	return e.command("fleet history", "Show who changed the list, the newest last", "", fleetFlags(
		&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Value: 20, Usage: "the last `N` changes, 0 is all that are kept"},
	), onFleet(fleetHistory))
}

// fleetRecord is one change in the JSON of fleet history.
type fleetRecord struct {
	Serial  uint64    `json:"serial"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Total   int       `json:"total"`
	Command string    `json:"command"`
	Reason  string    `json:"reason"`
}

func fleetHistory(ctx context.Context, c *fleetCall) error {
	last := c.flags.Int("number")
	if last < 0 {
		return &policy.InputError{What: fmt.Sprintf("-n %d is no number of changes", last), Hint: "xdpallow fleet history -n 0"}
	}
	view, err := c.client.View(ctx, c.list, false)
	if err != nil {
		return err
	}
	manifests, err := c.client.Past(ctx, c.list, last)
	if err != nil {
		return err
	}
	if view.Manifest != nil {
		manifests = slices.Insert(manifests, 0, view.Manifest)
	}
	if last > 0 && len(manifests) > last {
		manifests = manifests[:last]
	}
	slices.Reverse(manifests)
	records := []fleetRecord{}
	rows := [][]string{{"TIME", "SERIAL", "BY", "PREFIXES", "COMMAND", "REASON"}}
	for _, m := range manifests {
		records = append(records, fleetRecord{m.Serial, m.Time, m.By, m.Entries, m.Command, m.Reason})
		rows = append(rows, []string{moment(&m.Time), fmt.Sprint(m.Serial), m.By, fmt.Sprint(m.Entries), tabular.Brief(m.Command, roomForCommand), cmp.Or(m.Reason, "-")})
	}
	switch {
	case c.json:
		return c.printJSON(map[string]any{"fleet": c.fleet, "list": c.list, "changes": records})
	case len(records) == 0:
		return c.nothing("no changes")
	}
	return fitted(c.out, c.columns, slices.Values(rows))
}

func fleetDiffCommand(e env) *cli.Command {
	return e.command("fleet diff", "Show what has changed since a serial, or what waits for confirmation", "[SERIAL]", fleetFlags(
		&cli.BoolFlag{Name: "waiting", Usage: "what waits for confirmation would change"},
	), onFleet(fleetDiff))
}

func fleetDiff(ctx context.Context, c *fleetCall) error {
	var serial uint64
	if c.flags.NArg() > 1 {
		return &policy.InputError{What: "fleet diff takes one serial", Hint: "xdpallow fleet diff " + quote(c.flags.Args().First())}
	}
	if c.flags.NArg() == 1 {
		if _, err := fmt.Sscanf(c.flags.Args().First(), "%d", &serial); err != nil || serial == 0 || c.flags.Bool("waiting") {
			return &policy.InputError{What: fmt.Sprintf("%.64q is no serial to compare with", c.flags.Args().First()), Hint: "xdpallow fleet history"}
		}
	}
	view, err := c.client.View(ctx, c.list, true)
	if err != nil {
		return err
	}
	from, to := view.Manifest, view.Next
	if !c.flags.Bool("waiting") {
		to = view.Manifest
		if from, err = c.earlier(ctx, serial); err != nil {
			return err
		}
	}
	if from == nil || to == nil {
		return &policy.Refused{What: "nothing waits for confirmation", Hint: "xdpallow fleet status"}
	}
	before, err := c.client.Content(ctx, c.list, from, view.List)
	if err != nil {
		return err
	}
	after, err := c.client.Content(ctx, c.list, to, view.List)
	if err != nil {
		return err
	}
	plan, lines := edits.Diff(before, after)
	out := api.Plan{
		Generation: to.Serial, Total: to.Entries, Added: entriesOf(plan.Added), Removed: entriesOf(plan.Removed), Changed: entriesOf(plan.Changed),
		Was: query.Formers(plan.Was), Overrides: lines,
	}
	if c.json {
		return c.printJSON(changed{
			Fleet: c.fleet, List: c.list, Serial: to.Serial, Total: to.Entries, Changed: !plan.Empty() || len(out.Overrides) > 0,
			Added: out.Added, Removed: out.Removed, Edited: out.Changed, Was: out.Was, Overrides: out.Overrides,
		})
	}
	_ = table(c.out, 0, changes([3]string{"+ ", "~ ", "- "}, out))
	for _, line := range out.Overrides {
		fmt.Fprintf(c.out, "~ %s\n", line)
	}
	fmt.Fprintf(c.out, "%d added, %d removed, %d changed: from serial %d to %d\n", len(out.Added), len(out.Removed), len(out.Changed), from.Serial, to.Serial)
	return nil
}
