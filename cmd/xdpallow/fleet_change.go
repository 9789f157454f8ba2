package main

// This file is what changes of a fleet's list share: they are written, hosts are waited for, and
// what was done is said.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/fleet/edits"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/nesting"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// errMissing ends a command whose change was made, and has not reached every host.
var errMissing = errors.New("not every host has it")

// changeFlags are the flags of every change of a fleet's list.
func changeFlags(more ...cli.Flag) []cli.Flag {
	return fleetFlags(append(more, reasonFlag(),
		&cli.StringFlag{Name: "first", Usage: "only on the hosts of `GROUP`, until fleet confirm"},
		&cli.StringFlag{Name: "confirm", Value: "1h", Usage: "with --first: undo it after `DURATION` unless fleet confirm comes"},
		waitFlag(),
	)...)
}

func waitFlag() cli.Flag {
	return &cli.StringFlag{Name: "wait", Value: "10s", Usage: "wait at most `DURATION` for the hosts to have it; 0 does not"}
}

// change reads the flags of a change.
func (c *fleetCall) change() (change fleet.Change, err error) {
	change = fleet.Change{List: c.list, By: c.by(), Command: c.essence(), Reason: c.flags.String("reason"), Group: c.flags.String("first")}
	if err := policy.ParseNote(change.Reason); err != nil {
		return change, err
	}
	if _, err = c.patience(); err != nil {
		return change, err
	}
	if change.Group == "" {
		if c.flags.IsSet("confirm") {
			return change, &policy.InputError{What: "--confirm is for a change that a group has first", Hint: typed(c.env) + " --first canary"}
		}
		return change, nil
	}
	if err := policy.ParseName("group", change.Group); err != nil {
		return change, c.renamed("first", change.Group, err)
	}
	if change.Confirm, err = policy.ParseDuration(c.flags.String("confirm")); err != nil {
		return change, c.retyped("confirm", c.flags.String("confirm"), "1h", err)
	}
	if change.Confirm < shortestConfirm {
		return change, &policy.InputError{What: fmt.Sprintf("--confirm %s is shorter than %v", c.flags.String("confirm"), shortestConfirm), Hint: retyped(c.env, c.flags.String("confirm"), "60s")}
	}
	return change, nil
}

// essence is the command line without what the list keeps elsewhere, or nobody asks for later.
func (c *fleetCall) essence() string {
	brief := c.env
	brief.args = nil
	for words := c.args; len(words) > 0; {
		n := 1
		if isFlag(words[0]) {
			n = min(flagWords(c.flags.Command.Flags, words[0]), len(words))
		}
		if name, _, _ := strings.Cut(strings.TrimLeft(words[0], "-"), "="); !isFlag(words[0]) || !slices.Contains(unremembered, name) {
			brief.args = append(brief.args, words[:n]...)
		}
		words = words[n:]
	}
	words := strings.TrimPrefix(typed(brief), "xdpallow ")
	if len(words) > policy.MaxNote {
		words = strings.ToValidUTF8(words[:policy.MaxNote-len("…")], "") + "…"
	}
	return words
}

// unremembered are the flags that essence leaves out.
var unremembered = []string{"reason", "config", "fleet", "socket", "wait", "output", "o", "quiet", "q"}

// shortestConfirm is over what etcd needs to choose another leader.
const shortestConfirm = 5 * time.Second

// patience reads --wait.
func (c *fleetCall) patience() (time.Duration, error) {
	text := c.flags.String("wait")
	if text == "0" {
		return 0, nil
	}
	d, err := policy.ParseDuration(text)
	if err != nil {
		return 0, c.retyped("wait", text, "10s", err)
	}
	return d, nil
}

// reached is how many hosts have a serial.
type reached struct {
	Hosts   int      `json:"hosts"`
	Have    int      `json:"have"`
	Missing []string `json:"missing"`
	took    time.Duration
	silent  map[string]bool
}

// wait waits for the hosts that a change is for to have serial. It asks again for as long as a host
// that is not silent may come to it.
func (c *fleetCall) wait(ctx context.Context, m *layout.Manifest) (r reached) {
	patience, _ := c.patience() // change has read it
	for began := time.Now(); ; {
		hosts, err := c.client.Hosts(ctx, c.list)
		if err != nil {
			c.note("warning: %v", err) // the change was made
			return r
		}
		r = reached{Missing: []string{}, took: time.Since(began), silent: map[string]bool{}}
		waits := false
		for _, h := range hosts {
			if m.First != nil && h.Group != m.First.Group {
				continue
			}
			if r.Hosts++; !h.Silent && h.Serial >= m.Serial {
				r.Have++
				continue
			}
			r.Missing, r.silent[h.Name], waits = append(r.Missing, h.Name), h.Silent, waits || !h.Silent
		}
		if !waits || r.took > patience || ctx.Err() != nil {
			return r
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tell prints what stands now, and who has it.
func (c *fleetCall) tell(m *layout.Manifest, r reached) error {
	asked := c.flags.String("wait") != "0"
	if !c.json {
		line := fmt.Sprintf("serial %d, %s", m.Serial, policy.Count(m.Entries, "prefix", "prefixes"))
		if asked {
			line += fmt.Sprintf("; %d of %s (%.1f s)", r.Have, policy.Count(r.Hosts, "host has it", "hosts have it"), r.took.Seconds())
		}
		fmt.Fprintln(c.out, line)
		if m.First != nil {
			fmt.Fprintf(c.out, "only in group %s, and undone at %s unless confirmed: xdpallow fleet confirm\n",
				m.First.Group, time.Now().Add(c.window()).UTC().Format(time.RFC3339))
		}
	}
	if !asked {
		return nil
	}
	for _, host := range r.Missing {
		why := "it follows, and reports an earlier serial"
		if r.silent[host] {
			why = "silent; where it is gone for good: xdpallow fleet forget " + host
		}
		c.note("warning: %s has not: %s", host, why)
	}
	if len(r.Missing) > 0 {
		return errMissing
	}
	return nil
}

func (c *fleetCall) window() time.Duration {
	d, _ := policy.ParseDuration(c.flags.String("confirm")) // change has read it
	return d
}

// changed is the JSON of a change of entries.
type changed struct {
	Fleet     string       `json:"fleet"`
	List      string       `json:"list"`
	Serial    uint64       `json:"serial"` // after it; unchanged by a dry run
	Total     int          `json:"total"`
	Changed   bool         `json:"changed"`
	Added     []api.Entry  `json:"added"`
	Removed   []api.Entry  `json:"removed"`
	Edited    []api.Entry  `json:"edited"` // as they are afterwards
	Was       []api.Former `json:"was,omitempty"`
	Overrides []string     `json:"overrides,omitempty"`
	Refused   *api.Refusal `json:"refused,omitempty"`
	*reached
}

func entriesOf(entries []policy.Entry) []api.Entry {
	all := []api.Entry{}
	for _, e := range entries {
		all = append(all, query.EntryOf(e, store.Use{}))
	}
	return all
}

// make makes a change of entries, and prints it.
func (c *fleetCall) make(ctx context.Context, edit *edits.Edit) error {
	change, err := c.change()
	if err != nil {
		return err
	}
	change.Edit = edit.On
	m, _, err := c.client.Write(ctx, change)
	if err != nil {
		return err
	}
	serial := uint64(0)
	if m != nil {
		serial = m.Serial
	}
	plan := api.Plan{
		Generation: serial, Total: edit.After.Policy.Entries.Len(),
		Added: entriesOf(edit.Plan.Added), Removed: entriesOf(edit.Plan.Removed), Changed: entriesOf(edit.Plan.Changed),
		Was: query.Formers(edit.Plan.Was), Overrides: edit.Lines, Foreseen: query.ForeseenOf(nil, edit.Refused),
	}
	made := !edit.DryRun && (!edit.Plan.Empty() || len(edit.Lines) > 0)
	var r reached
	if made {
		r = c.wait(ctx, m)
	}
	if c.json {
		out := changed{
			Fleet: c.fleet, List: c.list, Serial: serial, Total: plan.Total, Changed: made, Overrides: edit.Lines, Refused: plan.Refused,
			Added: plan.Added, Removed: plan.Removed, Edited: plan.Changed, Was: plan.Was,
		}
		if made {
			out.reached = &r
		}
		if err := c.printJSON(out); err != nil {
			return err
		}
	}
	switch {
	case edit.DryRun && !c.json:
		return c.printWould(plan)
	case edit.DryRun:
		return refusal(plan.Foreseen)
	case !c.json:
		c.printDone(edit, plan)
	}
	for _, warning := range nesting.Warnings(edit.After, edit.Was, edit.Plan, nil) {
		c.note("warning: %s", warning)
	}
	if !made {
		if !c.json {
			fmt.Fprintf(c.out, "serial %d, %s\n", serial, policy.Count(plan.Total, "prefix", "prefixes"))
		}
		return nil
	}
	return c.tell(m, r)
}

// printDone prints a line for each prefix that has changed, and for those of add that have not.
func (c *fleetCall) printDone(edit *edits.Edit, plan api.Plan) {
	for _, line := range edit.Lines {
		fmt.Fprintf(c.out, "did %s\n", line)
	}
	for _, list := range []*[]api.Entry{&plan.Added, &plan.Changed, &plan.Removed} {
		if n := len(*list); n > mostNamed {
			*list = (*list)[:mostNamed]
			defer fmt.Fprintf(c.out, "and %d more (-o json names all)\n", n-mostNamed)
		}
	}
	rows := slices.Collect(changes([3]string{"added ", "changed ", "removed "}, plan))
	if edit.Verb == policy.VerbRemove {
		for i := range rows {
			rows[i][1] = strings.TrimSpace(rows[i][1] + " (open connections live on)")
		}
	}
	for _, e := range edit.Named {
		if !slices.ContainsFunc(slices.Concat(edit.Plan.Added, edit.Plan.Changed), func(p policy.Entry) bool { return p.Prefix == e.Prefix }) {
			rows = append(rows, []string{"unchanged " + e.Prefix.String(), e.Owner()})
		}
	}
	_ = table(c.out, 0, slices.Values(rows))
}
