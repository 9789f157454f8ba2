package main

// This file prints what a change does to the list and whom it cuts off, before it is made
// or after.

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "show what would change and whom it would cut off, and change nothing"}
}

func allowOpenFlag() cli.Flag {
	return &cli.BoolFlag{Name: "allow-open", Usage: "accept a config file that opens a port that is shut: the port leaves the gate, its service goes to audit, its scope drops less, or the backstop goes off"}
}

func cutSessionsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "cut-sessions", Usage: "guard a port even if somebody is logged in there who is not listed, you yourself perhaps"}
}

// forced reads the flags that switch guard rails off; a command may have some of them.
func forced(f *cli.Context) policy.Force {
	return policy.Force{
		AllowEmpty: f.Bool("allow-empty"), AllowAny: f.Bool("allow-any"), ForceShrink: f.Bool("force-shrink"),
		AllowOpen: f.Bool("allow-open"), CutSessions: f.Bool("cut-sessions"),
	}
}

func seenFlag() cli.Flag {
	return &cli.StringFlag{Name: "seen", Value: api.DefaultSeen, Usage: "name prefixes that are cut off if they were seen in the last `DURATION`"}
}

// seen reads --seen; "" leaves it to the daemon.
func (c *call) seen() (string, error) {
	seen := c.flags.String("seen")
	if !c.flags.IsSet("seen") {
		return "", nil
	}
	if _, err := policy.ParseDuration(seen); err != nil {
		return "", c.retyped("seen", seen, api.DefaultSeen, err)
	}
	return seen, nil
}

// printPlan prints a line for each prefix that changes, and the generation.
func (c *call) printPlan(plan api.Plan, dry bool) error {
	for _, warning := range plan.Warnings {
		c.note("warning: %s", warning)
	}
	switch {
	case c.json:
		if !dry {
			c.warnOfOpenings(plan.Opens)
			c.warnOfCuts(plan.Cuts)
			c.warnOfLoosening(plan.Loosens)
		}
		if err := c.printJSON(plan); err != nil {
			return err
		}
		return refusal(plan.Foreseen)
	case dry:
		return c.printWould(plan)
	}
	c.warnOfOpenings(plan.Opens)
	c.warnOfCuts(plan.Cuts)
	c.warnOfLoosening(plan.Loosens)
	for _, line := range plan.Overrides {
		fmt.Fprintf(c.out, "did %s\n", line)
	}
	verbs := map[string]string{"+": "added", "~": "changed", "-": "removed"}
	_ = table(c.out, 0, changes([3]string{"added ", "changed ", "removed "}, plan))
	c.printUnnamed(plan.Unnamed)
	for _, s := range plan.Services {
		fmt.Fprintf(c.out, "%s %s\n", verbs[s.Sign()], s)
	}
	c.printGeneration(plan.Generation, plan.Total, "")
	if plan.Confirm != nil {
		fmt.Fprintf(c.out, "rolled back at %s unless confirmed: %s\n", moment(&plan.Confirm.Deadline), c.toConfirm())
	}
	return nil
}

// mostNamed is how many prefixes a command names of those that a change adds, as many of those
// that it removes, and so on: nobody reads a million lines. -o json and --dry-run name all.
const mostNamed = 1000

// briefly is a client that is told no more of a change than printPlan prints.
func (c *call) briefly(dry bool) *control.Client {
	client := c.client()
	if !c.json && !dry {
		client.By.Most = mostNamed
	}
	return client
}

// printUnnamed counts what a plan that is too long does not name.
func (c *call) printUnnamed(more *api.Unnamed) {
	if more == nil {
		return
	}
	for _, line := range []struct {
		verb string
		n    int
	}{{"added", more.Added}, {"changed", more.Changed}, {"removed", more.Removed}} {
		if line.n > 0 {
			fmt.Fprintf(c.out, "%s %d more (-o json names all)\n", line.verb, line.n)
		}
	}
}

// printWould is printPlan for a dry run. A change that would be refused is printed, too, and
// the command ends with that refusal.
func (c *call) printWould(plan api.Plan) error {
	_ = table(c.out, 0, changes([3]string{"+ ", "~ ", "- "}, plan))
	for _, s := range plan.Services {
		fmt.Fprintf(c.out, "%s %s\n", s.Sign(), s)
	}
	for _, text := range policy.OpeningTexts(plan.Opens) {
		fmt.Fprintf(c.out, "! %s\n", text)
	}
	for _, line := range plan.Overrides {
		if !slices.Contains(plan.Loosens, line) {
			fmt.Fprintf(c.out, "~ %s\n", line)
		}
	}
	for _, line := range plan.Loosens {
		fmt.Fprintf(c.out, "! %s\n", line)
	}
	c.printKept(plan.Kept)
	c.printCuts(plan.Cuts)
	fmt.Fprintf(c.out, "%d added, %d removed, %d changed: ", len(plan.Added), len(plan.Removed), len(plan.Changed))
	c.printGeneration(plan.Generation, plan.Total, " (dry run: nothing was changed)")
	return refusal(plan.Foreseen)
}

// printKept counts the entries that stay because others than commands say so, or lists them
// with -v: they may be a million, and a replace does not change them.
func (c *call) printKept(kept []api.Entry) {
	if !c.flags.Bool("verbose") && len(kept) > 0 {
		fmt.Fprintf(c.out, "= %s, which commands did not make (-v lists them)\n", policy.Count(len(kept), "prefix stays", "prefixes stay"))
		return
	}
	_ = table(c.out, 0, func(yield func([]string) bool) {
		for _, e := range kept {
			if !yield([]string{"= " + e.Prefix.String(), strings.TrimSpace(e.Owner + " stays: " + joined(e.Origins))}) {
				return
			}
		}
	})
}

func (c *call) printCuts(cuts []api.Cut) {
	for _, cut := range cuts {
		fmt.Fprintf(c.out, "! %s\n", cutLine(cut))
	}
}

// refusal returns the error with which the change itself would end.
func refusal(f api.Foreseen) error {
	if f.Refused == nil {
		return nil
	}
	return &policy.Refused{What: f.Refused.What, Hint: f.Refused.Hint}
}

// changes yields the rows of a plan: what is added, changed and removed.
func changes(verbs [3]string, plan api.Plan) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		was := formerly(plan.Was)
		for i, entries := range [][]api.Entry{plan.Added, plan.Changed, plan.Removed} {
			slices.SortStableFunc(entries, func(a, b api.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
			for _, e := range entries {
				if !yield([]string{verbs[i] + e.Prefix.String(), described(was, e)}) {
					return
				}
			}
		}
	}
}

// cutLine is "192.0.2.9 (not listed) is cut off from api: 1 connection to tcp/443", or of
// an entry "203.0.113.0/24  acme would be cut off from api: last seen …, 2 connections
// (203.0.113.7 to tcp/443)".
func cutLine(cut api.Cut) string {
	services := strings.Join(cut.Services, ",")
	if cut.Prefix == nil {
		return fmt.Sprintf("%s is cut off from %s: %s", cut.Who(), services, cut.To())
	}
	var facts, peers []string
	if cut.LastSeen != nil {
		facts = append(facts, "last seen "+moment(cut.LastSeen))
	}
	for _, peer := range cut.Peers {
		text := fmt.Sprintf("%s to %s", peer.Address, peer.Port)
		if peer.Session {
			text += ", your own session"
		}
		peers = append(peers, text)
	}
	if cut.Connections > 0 {
		more := ""
		if told := connections(cut.Peers); told < cut.Connections {
			more = fmt.Sprintf("; and %d more", cut.Connections-told)
		}
		facts = append(facts, fmt.Sprintf("%s (%s%s)", policy.Count(cut.Connections, "connection", "connections"), strings.Join(peers, "; "), more))
	}
	return fmt.Sprintf("%s is cut off from %s: %s", cut.Who(), services, strings.Join(facts, ", "))
}

func connections(peers []api.CutPeer) (n int) {
	for _, peer := range peers {
		n += peer.Connections
	}
	return n
}

// warnOfOpenings prints one line for everything that a change has opened.
func (c *call) warnOfOpenings(opens []policy.Opening) {
	if len(opens) > 0 {
		c.note("warning: %s", policy.JoinOpenings(opens))
	}
}

// warnOfCuts prints one line for everybody whom a change has cut off.
func (c *call) warnOfCuts(cuts []api.Cut) {
	if len(cuts) > 0 {
		c.note("warning: %s", impact.Sum(cuts))
	}
}

// warnOfLoosening prints one line for everybody who was stopped or limited, and no longer is.
func (c *call) warnOfLoosening(lines []string) {
	if len(lines) > 0 {
		c.note("warning: lets in who was not: %s", strings.Join(lines, ", "))
	}
}
