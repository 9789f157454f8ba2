package reconcile

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
			parts = append(parts, fmt.Sprintf("%s was %s the list in the kernel", named(part.prefixes), part.what))
		}
	}
	if d.count != "" {
		parts = append(parts, d.count)
	}
	return strings.Join(parts, ", ")
}

// mendEntries compares the next slice of the kernel's list, and puts right what differs.
func (e *Engine) mendEntries() (string, error) {
	tables := e.view.gate.Tables
	if tables.Stale() {
		return "", nil // a publish failed, and the next change publishes
	}
	if e.drift.round.Seen == 0 {
		e.drift.begun = tables.Generation()
	}
	got, complete, err := tables.Next(&e.drift.round, slice)
	if err != nil {
		return "", err
	}
	d, err := e.compare(got)
	if err != nil {
		return "", err
	}
	fits, err := e.counted(complete)
	if err != nil {
		return "", err
	}
	whole := complete && e.drift.round.Seen == len(got)
	if complete {
		e.drift.round = maps.Round{}
	}
	if !fits && whole {
		err = e.addMissing(&d, got)
	} else if !fits && len(d.foreign) == 0 {
		d.count = fmt.Sprintf("the list in the kernel has other than the %d entries that it should", e.view.Policy.Entries.Len())
	}
	if err != nil || d.String() == "" {
		return "", err
	}
	return d.String(), e.putRight(d, whole)
}

// compare finds what got has that it should not, and remembers which entries it saw.
func (e *Engine) compare(got []maps.Entry) (d differences, err error) {
	e.drift.checked = e.drift.checked[:0]
	for _, have := range got {
		entry, found := e.view.Policy.Enforced(have.Prefix)
		if !found {
			d.foreign = append(d.foreign, have.Prefix)
			continue
		}
		want, err := e.view.compiler.Entry(entry, e.view.Policy.Services)
		if err != nil {
			return d, err
		}
		e.drift.checked = append(e.drift.checked, have.Prefix)
		if !compile.Alike(have, want) {
			d.changed, d.put = append(d.changed, have.Prefix), append(d.put, want)
		}
	}
	return d, nil
}

// counted reports whether the kernel has as many entries as it should, as far as that
// can be told now.
func (e *Engine) counted(complete bool) (bool, error) {
	tables := e.view.gate.Tables
	counts, known, err := tables.Count()
	if err != nil {
		return false, err
	}
	want := compile.Families(e.view.Policy)
	if known && counts != want {
		return false, nil
	}
	// A change on the way may have hidden some from the round.
	return !complete || e.drift.begun != tables.Generation() || e.drift.round.Seen == want[0]+want[1], nil
}

// addMissing adds what the desired list has and got, the whole of the kernel's, has not.
func (e *Engine) addMissing(d *differences, got []maps.Entry) error {
	have := make(map[netip.Prefix]bool, len(got))
	for _, entry := range got {
		have[entry.Prefix] = true
	}
	for entry := range e.view.Policy.AllEnforced() {
		if have[entry.Prefix] {
			continue
		}
		want, err := e.view.compiler.Entry(entry, e.view.Policy.Services)
		if err != nil {
			return err
		}
		d.missing, d.put = append(d.missing, entry.Prefix), append(d.put, want)
	}
	return nil
}

// putRight patches what is little and known, and publishes anew what is not. A patch is
// done in no time, and a publish of a million takes seconds.
func (e *Engine) putRight(d differences, whole bool) error {
	if whole && len(d.put)+len(d.foreign) <= compile.MaxPatch || d.count == "" && len(d.put) == 0 && len(d.foreign) <= compile.MaxPatch {
		used, err := e.view.gate.Tables.Patch(d.put, d.foreign, e.view.gate.Tables.Generation())
		if err == nil {
			e.view.fold(used)
			return nil
		}
	}
	return e.republish()
}
