// This file is the table that the entries of a state lie in: a change of one among a
// million must cost what one costs, and leave the state before it whole.

package policy

import (
	"iter"
	"net/netip"

	"github.com/gaissmai/bart"
)

// Entries are the entries of a state, one a prefix; the zero value has none. They do
// not change: to edit them is to make others, which share all but a few nodes with
// these, so what stood before is still there to go back to. Entries that are handed
// out belong to the table and must not be written to.
type Entries struct{ table *bart.Table[*Entry] } // nil: none

// NewEntries makes a table of entries, which it keeps. A prefix that is there twice
// has its last entry.
func NewEntries(entries []Entry) Entries {
	table := new(bart.Table[*Entry])
	for i := range entries {
		table.Insert(entries[i].Prefix, &entries[i])
	}
	return Entries{table}
}

// Len is how many entries there are.
func (e Entries) Len() int {
	ipv4, ipv6 := e.Families()
	return ipv4 + ipv6
}

// Families counts the entries of IPv4 and IPv6.
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

// with returns entries that have entry as well, in place of the one of its prefix.
func (e Entries) with(entry *Entry) Entries {
	if e.table == nil {
		return Entries{new(bart.Table[*Entry]).InsertPersist(entry.Prefix, entry)}
	}
	return Entries{e.table.InsertPersist(entry.Prefix, entry)}
}

// without returns entries that have none of p.
func (e Entries) without(p netip.Prefix) Entries {
	if e.table == nil {
		return e
	}
	return Entries{e.table.DeletePersist(p)}
}

// copied is a table of its own, which put and remove may write to.
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
