package talkers

// This file keeps near misses. A customer who moved knocks a few times an hour, and must be
// found in a flood: near misses are kept longer than talkers, by owner, and compete only
// with each other for room.

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// NearMiss is an unlisted source that tried beside a listed prefix.
type NearMiss struct {
	Source         netip.Addr   `json:"source"`
	Owner          string       `json:"owner"`    // of Prefix
	Prefix         netip.Prefix `json:"prefix"`   // the nearest that is listed
	Tries          uint64       `json:"tries"`    // dropped openings, at least
	Distance       *uint32      `json:"distance"` // in addresses, of IPv4; for scripts that know it: Within says how near
	First          time.Time    `json:"first"`
	Last           time.Time    `json:"last"`
	PrefixLastSeen *time.Time   `json:"prefix_last_seen"` // nil is never
	Within         netip.Prefix `json:"within"`           // the longest prefix that holds both, as check has it
}

// String is the near miss in a sentence.
func (m NearMiss) String() string {
	times := "times"
	if m.Tries == 1 {
		times = "time"
	}
	whose := m.Prefix.String()
	if m.Owner != "" {
		whose = m.Owner + "'s " + whose
	}
	return fmt.Sprintf("%s tried %d %s, %s %s", m.Source, m.Tries, times, m.Apart(), whose)
}

// Apart says how far the source is from the prefix, in words to put before the prefix.
func (m NearMiss) Apart() string { return fmt.Sprintf("in the same /%d as", m.Within.Bits()) }

// Within returns the longest prefix that holds both source and prefix, which must be of one
// family. check and top show its length as how near they are.
func Within(source netip.Addr, prefix netip.Prefix) netip.Prefix {
	bits := prefix.Bits()
	for bits > 0 && !netip.PrefixFrom(prefix.Addr(), bits).Masked().Contains(source) {
		bits--
	}
	return netip.PrefixFrom(prefix.Addr(), bits).Masked()
}

// Distance returns how many addresses lie between an IPv4 source and the first address of
// prefix: 203.0.113.77 is 13 from 203.0.113.64/29. It returns false for IPv6, where the
// number means nothing.
func Distance(source netip.Addr, prefix netip.Prefix) (uint32, bool) {
	if !source.Is4() || !prefix.Addr().Is4() {
		return 0, false
	}
	a, b := source.As4(), prefix.Addr().As4()
	x, y := binary.BigEndian.Uint32(a[:]), binary.BigEndian.Uint32(b[:])
	return max(x, y) - min(x, y), true
}

const (
	// missMemory is how long a source is kept after its last try.
	missMemory = 24 * time.Hour
	// maxOwners bounds the totals, far above the owners that a policy has. Near misses of
	// further owners count for no owner.
	maxOwners = 1 << 16
)

// misses are all near misses, in bounded room.
type misses struct {
	room, ownerRoom int
	held            int // sources of all owners
	owners          map[string]*ownerMisses
}

type ownerMisses struct {
	total   uint64 // never falls
	sources map[netip.Addr]*miss
}

// miss is one source, counted as by Space-Saving: a source that takes the place of another
// takes over its count as missed, and so is not the next to lose the place.
type miss struct {
	NearMiss
	missed uint64
}

func (m *miss) weight() uint64 { return m.Tries + m.missed }

func newMisses(o Options) misses {
	return misses{room: o.Misses, ownerRoom: o.OwnerMisses, owners: map[string]*ownerMisses{}}
}

func (m *misses) add(s Sample, at time.Time) {
	name := s.Near.Owner
	if m.owners[name] == nil && len(m.owners) >= maxOwners {
		name = ""
	}
	owner := m.owners[name]
	if owner == nil {
		owner = &ownerMisses{sources: map[netip.Addr]*miss{}}
		m.owners[name] = owner
	}
	owner.total += s.Weight
	entry := owner.sources[s.Source]
	if entry == nil {
		entry = &miss{missed: m.makeRoom(owner)}
		entry.Source, entry.First = s.Source, at.UTC()
		owner.sources[s.Source] = entry
		m.held++
	}
	entry.Owner, entry.Prefix = s.Near.Owner, s.Near.Prefix
	entry.Tries += s.Weight
	entry.Last = at.UTC()
	entry.Within = Within(s.Source, s.Near.Prefix)
	entry.Distance, entry.PrefixLastSeen = nil, nil
	if distance, ok := Distance(s.Source, s.Near.Prefix); ok {
		entry.Distance = &distance
	}
	if s.Near.LastSeen != nil {
		seen := s.Near.LastSeen.UTC()
		entry.PrefixLastSeen = &seen
	}
}

// makeRoom frees a place for owner where none is free: one of its own when it has its full
// share, else one of the owner that has most. It returns what the new source takes over as
// missed.
func (m *misses) makeRoom(owner *ownerMisses) uint64 {
	from := owner
	if len(owner.sources) < m.ownerRoom {
		if m.held < m.room {
			return 0
		}
		for _, other := range m.owners {
			if len(other.sources) > len(from.sources) {
				from = other
			}
		}
	}
	var least *miss
	for _, e := range from.sources {
		if least == nil || cmp.Or(
			cmp.Compare(e.weight(), least.weight()), e.Last.Compare(least.Last), e.Source.Compare(least.Source),
		) < 0 {
			least = e
		}
	}
	delete(from.sources, least.Source)
	m.held--
	if from != owner {
		return 0 // a count of another owner means nothing for this one
	}
	return least.weight()
}

// forget drops the sources that stopped trying.
func (m *misses) forget(now time.Time) {
	for _, owner := range m.owners {
		for source, e := range owner.sources {
			if now.Sub(e.Last) > missMemory {
				delete(owner.sources, source)
				m.held--
			}
		}
	}
}

// list returns all near misses, the last one first.
func (m *misses) list() []NearMiss {
	all := make([]NearMiss, 0, m.held)
	for _, owner := range m.owners {
		for _, e := range owner.sources {
			all = append(all, e.NearMiss)
		}
	}
	slices.SortFunc(all, func(a, b NearMiss) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(b.Tries, a.Tries), a.Source.Compare(b.Source), cmp.Compare(a.Owner, b.Owner))
	})
	return all
}
