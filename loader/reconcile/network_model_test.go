// This file is a model of suspensions, written from the sentence that they are of an owner's
// network: it knows nothing of how that is done.
package reconcile_test

import (
	"maps"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// labels are prefixes and the owners that one origin gives them, "" for none.
type labels map[netip.Prefix]string

// stopModel is the suspension of one owner.
type stopModel struct {
	his    map[netip.Prefix]bool // that were his while it lasted
	stay   labels                // of others, who were there before
	nested bool                  // nobody stays
}

func (s stopModel) clone() stopModel {
	return stopModel{maps.Clone(s.his), maps.Clone(s.stay), s.nested}
}

// networkModel is what was said, and by whom: no kernel, no tries, no numbers.
type networkModel struct {
	made, file labels // by add and replace; in the list file, as last read
	hosts      map[netip.Prefix]bool
	owners     map[string]stopModel
}

func (m networkModel) clone() networkModel {
	c := networkModel{made: maps.Clone(m.made), file: maps.Clone(m.file), hosts: maps.Clone(m.hosts), owners: map[string]stopModel{}}
	for name, s := range m.owners {
		c.owners[name] = s.clone()
	}
	return c
}

func (m networkModel) equal(o networkModel) bool {
	return maps.Equal(m.made, o.made) && maps.Equal(m.file, o.file) && maps.Equal(m.hosts, o.hosts) &&
		maps.EqualFunc(m.owners, o.owners, func(a, b stopModel) bool {
			return maps.Equal(a.his, b.his) && maps.Equal(a.stay, b.stay) && a.nested == b.nested
		})
}

// entries are what both origins come to.
func (m networkModel) entries() labels {
	all := maps.Clone(m.file)
	for p, owner := range m.made {
		if owner != "" || all[p] == "" {
			all[p] = owner
		}
	}
	return all
}

func covers(a, b netip.Prefix) bool { return a.Bits() <= b.Bits() && a.Contains(b.Addr()) }

// longest is the longest of prefixes that covers p.
func longest[V any](prefixes map[netip.Prefix]V, p netip.Prefix) (found netip.Prefix, ok bool) {
	for q := range prefixes {
		if covers(q, p) && (!ok || q.Bits() > found.Bits()) {
			found, ok = q, true
		}
	}
	return found, ok
}

// stops reports whether the suspension covers p: the nearest that is said of p and what
// is around it decides.
func (s stopModel) stops(entries labels, p netip.Prefix) bool {
	standing := labels{}
	for q, owner := range s.stay {
		if now, listed := entries[q]; listed && now == owner {
			standing[q] = owner
		}
	}
	his, found := longest(s.his, p)
	theirs, between := longest(standing, p)
	return found && !(between && theirs.Bits() > his.Bits())
}

// verdict is what happens to a source.
func (m networkModel) verdict(source netip.Addr) string {
	entries := m.entries()
	at := netip.PrefixFrom(source, source.BitLen())
	e, listed := longest(entries, at)
	if !listed {
		return "not_listed"
	}
	if _, stopped := longest(m.hosts, at); stopped {
		return "suspended"
	}
	for _, s := range m.owners {
		if s.stops(entries, at) {
			return "suspended"
		}
	}
	owner := entries[e]
	for q, ok := e, true; owner == "" && ok; owner = entries[q] {
		wider := labels{}
		for around := range entries {
			if around.Bits() < q.Bits() {
				wider[around] = ""
			}
		}
		if q, ok = longest(wider, e); !ok {
			break
		}
	}
	if _, stopped := m.owners[owner]; stopped {
		return "suspended"
	}
	if owner == "initech" { // who has used up his limit
		return "rate_limited"
	}
	return "listed"
}

// suspend stops owner.
func (m networkModel) suspend(owner string, nested bool) {
	entries := m.entries()
	s, again := m.owners[owner]
	if !again {
		s = stopModel{his: map[netip.Prefix]bool{}, stay: labels{}}
	}
	if s.nested = s.nested || nested; s.nested {
		s.stay, again = labels{}, true
	}
	for p, of := range entries {
		if of == owner {
			s.his[p] = true
		}
	}
	for p, of := range entries {
		if _, inside := longest(s.his, p); !again && inside && of != "" && of != owner {
			s.stay[p] = of
		}
	}
	m.owners[owner] = s
}

// follow has the suspensions follow a change: what is his now stays stopped from now on,
// and who was there before it was his goes on.
func (m networkModel) follow(before networkModel) {
	old, entries := before.entries(), m.entries()
	for owner, s := range m.owners {
		was := s.clone()
		for p, of := range entries {
			if of != owner || s.his[p] {
				continue
			}
			s.his[p] = true
			for q, theirs := range old {
				if covers(p, q) && theirs != "" && theirs != owner && entries[q] == theirs && !s.nested && !was.stops(old, q) {
					s.stay[q] = theirs
				}
			}
		}
	}
}

// setAside has m say of s what next says.
func (m networkModel) setAside(s policy.Subject, next networkModel) {
	if s.Owner == "" {
		delete(m.hosts, s.Prefix)
		if next.hosts[s.Prefix] {
			m.hosts[s.Prefix] = true
		}
		return
	}
	delete(m.owners, s.Owner)
	if stop, stopped := next.owners[s.Owner]; stopped {
		m.owners[s.Owner] = stop.clone()
	}
}
