package main

// This file is `status`: is this host protected? What is wrong comes first.

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/tabular"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func statusCommand(e env) *cli.Command {
	return e.command("status", "Tell whether this host is protected", "", offlineFlags(), status)
}

func status(ctx context.Context, c *call) error {
	status, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.Status, error) {
		return from.Status(ctx)
	})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(status)
	}
	return table(c.out, 0, slices.Values(c.statusRows(status)))
}

// mostShown is how many of a kind fit a screen with all that matters more.
const mostShown = 10

// statusRows is the screen: what it is about, and what there is to say.
func (c *call) statusRows(s api.Status) [][]string {
	var rows [][]string
	for _, p := range s.Problems {
		rows = append(rows, []string{"problem:", p.String() + " (" + p.Code + ")"})
		if p.Hint != "" {
			rows = append(rows, []string{"  hint:", c.withSocket(p.Hint)})
		}
	}
	enforcing, daemon := "no", "not running"
	if s.Enforcing {
		enforcing = "yes"
	}
	if s.Daemon != nil {
		daemon = fmt.Sprintf("pid %d since %s, version %s", s.Daemon.PID, moment(&s.Daemon.Since), cmp.Or(s.Version, "-"))
	}
	rows = append(rows, []string{"enforcing:", enforcing}, []string{"daemon:", daemon})
	for _, i := range s.Interfaces {
		rows = append(rows, []string{"interface:", describeInterface(i)})
	}
	rows = append(rows, []string{"backstop:", describeBackstop(s.Backstop)})
	for _, name := range s.Uncovered {
		if slices.Contains(s.Routed, name) {
			name += ", which " + api.LeadsGuests
		}
		rows = append(rows, []string{"uncovered:", name})
	}
	for _, service := range s.Services {
		rows = append(rows, []string{"service:", describeService(service)})
	}
	held := fmt.Sprintf("generation %d, %s, %s", s.Generation, policy.Count(s.Entries, "prefix", "prefixes"), policy.Count(s.Owners, "owner", "owners"))
	if s.Ended > 0 {
		held += fmt.Sprintf("; %s ended: %s", policy.Count(s.Ended, "has", "have"), c.withSocket("xdpallow list --expired"))
	}
	rows = append(rows, []string{"policy:", held})
	if s.Expiring > 0 {
		rows = append(rows, []string{"expiring:", policy.Count(s.Expiring, "prefix ends", "prefixes end") + " within 14 days: " + c.withSocket("xdpallow list --expiring 14d")})
	}
	for _, text := range describeOrigins(s.Origins) {
		rows = append(rows, []string{"origin:", text})
	}
	for i, one := range s.Suspended {
		if i == mostShown {
			rows = append(rows, []string{"suspended:", policy.Count(len(s.Suspended)-i, "more", "more")})
			break
		}
		rows = append(rows, []string{"suspended:", one.Subject + " " + describeSuspension(one)})
	}
	if s.Limited > 0 {
		rows = append(rows, []string{"limited:", policy.Count(s.Limited, "owner", "owners") + ": " + c.withSocket("xdpallow owners")})
	}
	if w := s.Confirm; w != nil {
		rows = append(rows, []string{"confirm:", fmt.Sprintf("%s of generation %d is rolled back in %ds, at %s, unless confirmed",
			w.Command, w.Generation, w.Left, moment(&w.Deadline))})
	}
	if ch := s.LastChange; ch != nil {
		rows = append(rows, []string{"last change:", fmt.Sprintf("%s by %s (pid %d): %s, generation %d",
			moment(&ch.Time), describeCaller(ch), ch.PID, tabular.Brief(ch.Command, roomForCommand), ch.Generation)})
	}
	return rows
}

// describeCaller is "uid 0", or "uid 0, logged in as uid 1000" behind sudo.
func describeCaller(ch *api.Change) string {
	text := fmt.Sprintf("uid %d", ch.UID)
	if ch.LoginUID != nil && *ch.LoginUID != ch.UID {
		text += fmt.Sprintf(", logged in as uid %d", *ch.LoginUID)
	}
	return text
}

func describeInterface(i api.Interface) string {
	if !i.Attached {
		return i.Name + " is not attached"
	}
	text := i.Name + ", " + i.Attach
	if i.Reason != "" {
		text += fmt.Sprintf(" (%s)", i.Reason)
	}
	if i.BackstopRefused > 0 {
		text += fmt.Sprintf("; the backstop refused %s that it let by (tunnel, redirect)", policy.Count(int(i.BackstopRefused), "packet", "packets"))
	}
	return text
}

// describeOrigins is a line an origin, and one for all files of a directory that could be
// read: a screen has no room for a file a customer.
func describeOrigins(origins []api.OriginStatus) (lines []string) {
	type sum struct{ files, prefixes int }
	directories := map[string]sum{}
	directory := func(o api.OriginStatus) string {
		file, isFile := strings.CutPrefix(string(o.Name), "file:")
		if !isFile || o.Error != "" {
			return ""
		}
		return filepath.Dir(file)
	}
	for _, o := range origins {
		at := directory(o)
		directories[at] = sum{directories[at].files + 1, directories[at].prefixes + o.Entries}
	}
	for _, o := range origins {
		at := directory(o)
		all := directories[at]
		switch {
		case at == "" || all.files == 1:
			text := string(o.Name) + ", " + policy.Count(o.Entries, "prefix", "prefixes")
			if o.Aside > 0 {
				text += fmt.Sprintf(" (%d not enforced)", o.Aside)
			}
			if _, fleet := o.Name.Etcd(); fleet && o.Mark != "" {
				text += ", serial " + o.Mark
			}
			if o.State == "pending" {
				text += ", no list yet"
			}
			if o.Error != "" {
				text += " of its last good content: " + o.Error
			}
			lines = append(lines, text)
		case all.files > 1: // the first of them
			lines = append(lines, fmt.Sprintf("%s: %d files, %s", at, all.files, policy.Count(all.prefixes, "prefix", "prefixes")))
			directories[at] = sum{}
		}
	}
	return lines
}

func describeBackstop(b *api.Backstop) string {
	switch {
	case b == nil:
		return "off"
	case !b.Attached:
		return "not attached"
	}
	return "attached"
}

func describeService(s api.Service) string {
	ports := strings.ReplaceAll(policy.JoinPorts(s.Ports), ",", " ")
	return fmt.Sprintf("%s, %s, %s, drop %s", s.Name, ports, describeMode(s), s.Scope)
}
