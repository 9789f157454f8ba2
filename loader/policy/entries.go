// This file is the table of the entries of a state. To change one entry among a million must
// cost as little as among ten, and the state before the change must stay whole.

package policy

import (
	"iter"
	"net/netip"

	"github.com/gaissmai/bart"
)

// Entries are the entries of a state, one for each prefix; the zero value has none. They do not
// change: an edit makes new Entries, which share all but a few nodes with these, so the old
// ones are there to go back to. Each *Entry that they return belongs to them and must not be
// written to.
type Entries struct{ table *bart.Table[*Entry] } // nil: none

// NewEntries returns a table of entries, which belong to it from then on. Of a prefix that is
// there twice the last entry counts.
func NewEntries(entries []Entry) Entries {
	table := new(bart.Table[*Entry])
	for i := range entries {
		table.Insert(entries[i].Prefix, &entries[i])
	}
	return Entries{table}
}

// Len returns how many entries there are.
func (e Entries) Len() int {
	ipv4, ipv6 := e.Families()
	return ipv4 + ipv6
}

// Families returns how many entries are IPv4 and how many IPv6.
func (e Entries) Families() (ipv4, ipv6 int) {
	if e.table == nil {
		return 0, 0
	}
	return e.table.Size4(), e.table.Size6()
}

// All yields every entry, sorted by ComparePrefix.
func (e Entries) All() iter.Seq[*Entry] {
	if e.table == nil {
		return none
	}
	return values(e.table.AllSorted())
}

// Find returns the entry of exactly p.
func (e Entries) Find(p netip.Prefix) (*Entry, bool) {
	if e.table == nil {
		return nil, false
	}
	return e.table.Get(p)
}

// Under yields the entries within p, p's own among them, sorted by ComparePrefix.
func (e Entries) Under(p netip.Prefix) iter.Seq[*Entry] {
	if e.table == nil {
		return none
	}
	return values(e.table.Subnets(p))
}

// Covering yields the entries that cover p, p's own among them, longest first.
func (e Entries) Covering(p netip.Prefix) iter.Seq[*Entry] {
	if e.table == nil {
		return none
	}
	return values(e.table.Supernets(p))
}

// with returns e with entry, in place of the one of its prefix.
func (e Entries) with(entry *Entry) Entries {
	if e.table == nil {
		return Entries{new(bart.Table[*Entry]).InsertPersist(entry.Prefix, entry)}
	}
	return Entries{e.table.InsertPersist(entry.Prefix, entry)}
}

// without returns e without the entry of p.
func (e Entries) without(p netip.Prefix) Entries {
	if e.table == nil {
		return e
	}
	return Entries{e.table.DeletePersist(p)}
}

// copied returns a copy of e that shares no nodes: put and remove may write to it.
func (e Entries) copied() Entries {
	if e.table == nil {
		return Entries{new(bart.Table[*Entry])}
	}
	return Entries{e.table.Clone()}
}

func (e Entries) put(entry *Entry) Entries {
	e.table.Insert(entry.Prefix, entry)
	return e
}

func (e Entries) remove(p netip.Prefix) Entries {
	e.table.Delete(p)
	return e
}

func none(func(*Entry) bool) {}

func values(seq iter.Seq2[netip.Prefix, *Entry]) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for _, entry := range seq {
			if !yield(entry) {
				return
			}
		}
	}
}
