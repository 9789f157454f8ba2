package repair

// This file compares the list in the kernel with the desired one.

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/maps"
)

// differences are what keeps the kernel's list from being the desired one.
type differences struct {
	missing, changed, foreign []netip.Prefix
	put                       []maps.Entry // as they should be: missing and changed
	count                     string       // how many there are and should be, where they were not all read
}

func (d differences) String() string {
	var parts []string
	for _, part := range []struct {
		prefixes []netip.Prefix
		what     string
	}{{d.missing, "taken out of"}, {d.foreign, "put into"}, {d.changed, "changed in"}} {
		if len(part.prefixes) > 0 {
			parts = append(parts, fmt.Sprintf("%s was %s the list in the kernel", Named(part.prefixes), part.what))
		}
	}
	if d.count != "" {
		parts = append(parts, d.count)
	}
	return strings.Join(parts, ", ")
}

// restoreEntries compares the next slice of the kernel's list, and puts right what differs.
func (c *Checker) restoreEntries(d Desired) (string, error) {
	tables := c.gate.Tables
	if tables.Stale() {
		return "", nil // a publish failed, and the next change publishes
	}
	if c.round.Seen == 0 {
		c.begun = tables.Generation()
	}
	got, complete, err := tables.Next(&c.round, slice)
	if err != nil {
		return "", err
	}
	diff, err := c.compare(d, got)
	if err != nil {
		return "", err
	}
	fits, err := c.counted(d, complete)
	if err != nil {
		return "", err
	}
	whole := complete && c.round.Seen == len(got)
	if complete {
		c.round = maps.Scan{}
	}
	if !fits && whole {
		err = c.addMissing(&diff, d, got)
	} else if !fits && len(diff.foreign) == 0 {
		diff.count = fmt.Sprintf("the list in the kernel has other than the %d entries that it should", d.Policy.Entries.Len())
	}
	if err != nil || diff.String() == "" {
		return "", err
	}
	return diff.String(), c.putRight(diff, d, whole)
}

// compare finds what got has that it should not, and remembers which entries it saw.
func (c *Checker) compare(d Desired, got []maps.Entry) (diff differences, err error) {
	c.checked = c.checked[:0]
	for _, have := range got {
		entry, found := d.Policy.Enforced(have.Prefix)
		if !found {
			diff.foreign = append(diff.foreign, have.Prefix)
			continue
		}
		want, err := d.Compiler.Entry(entry, d.Policy.Services)
		if err != nil {
			return diff, err
		}
		c.checked = append(c.checked, have.Prefix)
		if !compile.Alike(have, want) {
			diff.changed, diff.put = append(diff.changed, have.Prefix), append(diff.put, want)
		}
	}
	return diff, nil
}

// counted reports whether the kernel has as many entries as it should, as far as that
// can be told now.
func (c *Checker) counted(d Desired, complete bool) (bool, error) {
	tables := c.gate.Tables
	counts, known, err := tables.Count()
	if err != nil {
		return false, err
	}
	want := compile.Families(d.Policy)
	if known && counts != want {
		return false, nil
	}
	// A change on the way may have hidden some from the round.
	return !complete || c.begun != tables.Generation() || c.round.Seen == want[0]+want[1], nil
}

// addMissing adds what the desired list has and got, the whole of the kernel's, has not.
func (c *Checker) addMissing(diff *differences, d Desired, got []maps.Entry) error {
	have := make(map[netip.Prefix]bool, len(got))
	for _, entry := range got {
		have[entry.Prefix] = true
	}
	for entry := range d.Policy.AllEnforced() {
		if have[entry.Prefix] {
			continue
		}
		want, err := d.Compiler.Entry(entry, d.Policy.Services)
		if err != nil {
			return err
		}
		diff.missing, diff.put = append(diff.missing, entry.Prefix), append(diff.put, want)
	}
	return nil
}

// putRight patches what is little and known, and publishes anew what is not. A patch is
// done in no time, and a publish of a million takes seconds.
func (c *Checker) putRight(diff differences, d Desired, whole bool) error {
	if whole && len(diff.put)+len(diff.foreign) <= compile.MaxPatch || diff.count == "" && len(diff.put) == 0 && len(diff.foreign) <= compile.MaxPatch {
		used, err := c.gate.Tables.Patch(diff.put, diff.foreign, c.gate.Tables.Generation())
		if err == nil {
			c.retired(used)
			return nil
		}
	}
	return c.republish(d)
}
