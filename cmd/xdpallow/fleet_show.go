package main

// This file is the commands that show a fleet: its list and its hosts.

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
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
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
