package top

// This file draws who sends it: talkers, and near misses.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/talkers"
)

// nearMisses shows unlisted sources beside listed prefixes: perhaps customers who moved.
func (m model) nearMisses() grid {
	all := slices.Clone(m.shown.frame.Talkers.NearMisses)
	slices.SortStableFunc(all, func(a, b talkers.NearMiss) int {
		if m.order == byName {
			return cmp.Or(cmp.Compare(a.Owner, b.Owner), a.Source.Compare(b.Source))
		}
		return cmp.Compare(b.Tries, a.Tries)
	})
	g := grid{columns: []column{
		{name: "NEAR MISS", least: 17},
		{name: "TRIES", right: true},
		{name: "LAST", right: true, rank: 3},
		{name: "APART", right: true, rank: 2},
		{name: "OWNER", least: 10},
		{name: "NEAREST PREFIX", least: 17},
		{name: "LAST SEEN", right: true, rank: 1},
	}}
	for _, n := range all {
		apart, seen := "-", "never"
		if n.Within.IsValid() {
			apart = fmt.Sprintf("same /%d", n.Within.Bits())
		}
		if n.PrefixLastSeen != nil {
			seen = m.ago(*n.PrefixLastSeen)
		}
		g.rows = append(g.rows, row{cells: []cell{
			{n.Source.String(), warn},
			{whole(n.Tries), plain},
			{m.ago(n.Last), plain},
			{apart, plain},
			{cmp.Or(n.Owner, "-"), plain},
			{n.Prefix.String(), plain},
			{seen, plain},
		}})
	}
	return g
}

// ago is how long before the frame.
func (m model) ago(t time.Time) string { return short(m.shown.frame.Time.Sub(t)) + " ago" }

type talker struct {
	prefix netip.Prefix // of one address, for an address
	name   string
	talkers.Talker
}

// told reports whether t has samples enough to be shown. In a flood from random sources,
// each of which is sampled once, one sample that stands for a thousand packets is not a
// talker: chance chose it.
func told(t talkers.Talker) bool {
	const few = 4
	return t.Samples >= few || t.Samples == t.Packets
}

func prefixRows(s talkers.Snapshot) (rows []talker) {
	for _, p := range s.Prefixes {
		if !told(p.Talker) {
			continue
		}
		rows = append(rows, talker{p.Prefix, p.Prefix.String(), p.Talker})
	}
	return rows
}

func addressRows(s talkers.Snapshot) (rows []talker) {
	for _, a := range s.Addresses {
		if !told(a.Talker) {
			continue
		}
		rows = append(rows, talker{netip.PrefixFrom(a.Address, a.Address.BitLen()), a.Address.String(), a.Talker})
	}
	return rows
}

// talkers shows the sources that send most of what is dropped.
func (m model) talkers(name string, all []talker) grid {
	slices.SortStableFunc(all, func(a, b talker) int {
		switch m.order {
		case byName:
			return a.prefix.Compare(b.prefix)
		case byBytes:
			return cmp.Compare(b.BytesPerSecond, a.BytesPerSecond)
		}
		return cmp.Compare(b.PacketsPerSecond, a.PacketsPerSecond)
	})
	g := grid{columns: []column{
		{name: "TALKER, " + name, least: 22},
		{name: "PACKETS", right: true},
		{name: "BITS", right: true, rank: 2},
		{name: "SHARE", right: true},
		{name: "REASON", least: 10, rank: 1},
		{name: "LAST", right: true, rank: 3},
	}}
	for _, t := range all {
		g.rows = append(g.rows, row{cells: []cell{
			{t.name, plain},
			{perSecond(t.PacketsPerSecond, ""), plain},
			{perSecond(8*t.BytesPerSecond, "b"), plain},
			{percent(t.Share), plain},
			{cmp.Or(t.Reason, "-"), plain},
			{m.ago(t.Last), plain},
		}})
	}
	return g
}
