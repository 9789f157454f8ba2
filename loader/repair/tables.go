package repair

// This file puts tables back that somebody else wrote to, took out or unpinned.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

const (
	// slice is how many entries a check compares with the desired ones. A list as long
	// is compared whole every ten seconds, one of a million in ten minutes; where the
	// kernel counts them, one too many or too few is noticed at once all the same.
	slice = 16384
	// canaries is how many of them the shadow program is asked about.
	canaries = 8
)

func (c *Checker) restoreCurrent() (string, error) {
	if same, err := c.gate.Tables.SameCurrent(); same || err != nil {
		return "", err
	}
	return "another generation or prefilter was made the live one", c.gate.Tables.RestoreCurrent()
}

func (c *Checker) restoreMaps() (string, error) {
	restored, err := c.gate.Tables.RestoreMaps()
	if len(restored) == 0 {
		return "", err
	}
	slices.Sort(restored)
	return "not in its place was " + strings.Join(restored, ", "), err
}

// restoreOwners holds the rows of all owners to what is desired.
func (c *Checker) restoreOwners(d Desired) (found string, err error) {
	for name, number := range d.Compiler.Owners.All() {
		want := compile.OwnerRule(d.State, name)
		same, err := c.gate.Tables.SameOwner(number, want)
		if err == nil && !same {
			found = "the row of owner " + name + " was written to"
			err = c.gate.Tables.SetOwner(number, want)
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// restorePins pins again what the next daemon is to find.
func (c *Checker) restorePins(now time.Time) {
	restored, err := c.gate.Repin()
	if err != nil {
		c.failed["pins"] = api.Problem{
			Code: "not_repaired", Subject: "pins", Text: fmt.Sprintf("not known to be pinned, and without pins the gate ends with this daemon: %v", err), Hint: "xdpallow status",
		}
	}
	for what, names := range map[string][]string{"link": restored.Links, "program": restored.Programs, "map": restored.Counters} {
		if len(names) > 0 {
			slices.Sort(names)
			c.Note(what, fmt.Sprintf("the %s of %s was unpinned", what, strings.ReplaceAll(strings.Join(names, ", "), "/", "the ")), now)
		}
	}
}

// restorePrefilter asks for a part of the entries whether they would be dropped unseen.
func (c *Checker) restorePrefilter(d Desired) (string, error) {
	lacking, err := c.gate.Tables.Unfiltered(c.checked)
	if err != nil {
		return "", err
	}
	if len(lacking) == 0 {
		if lacking, err = c.unseen(d); err != nil || len(lacking) == 0 {
			return "", err
		}
	}
	return fmt.Sprintf("the prefilter was emptied of %s", Named(lacking)), c.republish(d)
}

// unseen asks the shadow program about some of the entries, and returns those that it does not know.
func (c *Checker) unseen(d Desired) (unknown []netip.Prefix, err error) {
	attached, checked := c.gate.Attached(), c.checked
	if len(attached) == 0 || len(d.Policy.Services) == 0 {
		return nil, nil
	}
	port := d.Policy.Services[0].Ports[0]
	for i := range min(canaries, len(checked)) {
		p := checked[i*len(checked)/min(canaries, len(checked))]
		answer, err := c.gate.AskOpening(attached[0], p.Addr(), port.Protocol == policy.TCP, port.Number)
		if err != nil {
			return nil, err
		}
		if answer.Reason == maps.NotListed {
			unknown = append(unknown, p)
		}
	}
	return unknown, nil
}

// republish makes the kernel have the state that stands, as the generation that it is.
func (c *Checker) republish(d Desired) error {
	compiled, err := d.Compiler.Policy(d.State, c.gate.Tables.Generation())
	if err != nil {
		return err
	}
	used, err := c.gate.Tables.Publish(compiled)
	c.retired(used)
	return err
}

// Named lists the first few of prefixes, which it sorts, and says how many more there are.
func Named(prefixes []netip.Prefix) string {
	slices.SortFunc(prefixes, policy.ComparePrefix)
	const few = 3
	var names []string
	for _, p := range prefixes[:min(few, len(prefixes))] {
		names = append(names, p.String())
	}
	if more := len(prefixes) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
