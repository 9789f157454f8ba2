package api

import (
	"iter"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is a listing that is never in memory as a whole: the list may have a million entries,
// and whoever reads it may stop half way.

// Listed is the entries that a ListRequest asks for, of one moment, sorted by
// policy.ComparePrefix. They may be gone through more than once. An error ends each sequence.
type Listed struct {
	Generation uint64
	Total      int            // prefixes in the whole policy
	Connected  []netip.Prefix // of list --unused: left out, because somebody is connected now

	// Claims yields what the entries say, without how they were used.
	Claims iter.Seq2[policy.Claim, error]

	// Entries yields the entries, each valid until the next one. How an entry was used is read
	// only when use says so, which is asked before every few thousand of them: it costs more
	// than all else.
	Entries func(use func() bool) iter.Seq2[*Entry, error]
}

// LeftOut is what list --unused does not list, because somebody is connected now.
type LeftOut struct {
	Count int            `json:"count"`
	First []netip.Prefix `json:"first"` // five at most
}

// LeftOut returns what is told of l.Connected.
func (l Listed) LeftOut() LeftOut {
	return LeftOut{len(l.Connected), l.Connected[:min(len(l.Connected), 5)]}
}
