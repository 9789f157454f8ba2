package maps

// This file answers what the live tables have. Any number may ask beside the one writer.

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/xdpallow/xdpallow/bpf"
)

// Lookup returns the entry of exactly p.
func (t *Tables) Lookup(p netip.Prefix) (Entry, bool, error) {
	if err := checkPrefix(p); err != nil {
		return Entry{}, false, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.stale() {
		return Entry{}, false, nil
	}
	return t.families[familyOf(p)].trie.lookup(p)
}

// Use returns how the entry of exactly p was used: what the live tries have counted and,
// until Release, what those before them had. Between a publish and the moment when its
// caller has added up what it retired, nothing that was counted is missing.
func (t *Tables) Use(p netip.Prefix) (hits uint64, lastSeen uint32, err error) {
	if err := checkPrefix(p); err != nil {
		return 0, 0, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	family := familyOf(p)
	tries := [2]trie{t.retired[family]}
	if !t.stale() {
		tries[1] = t.families[family].trie
	}
	for _, one := range tries {
		if one.m == nil {
			continue
		}
		entry, _, err := one.lookup(p)
		if err != nil {
			return 0, 0, err
		}
		hits, lastSeen = hits+uint64(entry.Hits), max(lastSeen, entry.LastSeen)
	}
	return hits, lastSeen, nil
}

// Release lets go of the tries that the last publish retired: from now on Use does not
// know what they had counted. The next publish and Close do so, too.
func (t *Tables) Release() error {
	t.mu.Lock()
	retired := t.retired
	t.retired = [2]trie{}
	t.mu.Unlock()
	return errors.Join(retired[0].m.Close(), retired[1].m.Close())
}

// Tries are the ids of the live tries, which no others of this boot have: hits and
// last_seen of an entry begin anew with them. Zeros before the first publish.
func (t *Tables) Tries() (ids [2]uint32, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.stale() {
		return ids, nil
	}
	for family, slot := range t.families {
		if ids[family], err = mapID(slot.trie.m); err != nil {
			return ids, fmt.Errorf("%s: %w", outerNames[family], err)
		}
	}
	return ids, nil
}

// Entries returns every live entry, sorted by address.
func (t *Tables) Entries() ([]Entry, error) {
	var entries []Entry
	if t.Stale() {
		return nil, nil
	}
	for _, slot := range t.families {
		if err := slot.trie.all(func(e Entry) error {
			entries = append(entries, e)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	sortEntries(entries)
	return entries, nil
}

// SameServices reports whether the live port table and modes are those of p.
func (t *Tables) SameServices(p Policy) (bool, error) {
	want, err := p.value()
	if err != nil {
		return false, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var live bpf.XdpallowCurrent
	if err := t.current.Lookup(uint32(0), &live); err != nil {
		return false, fmt.Errorf("read current: %w", err)
	}
	got := new(bpf.XdpallowPolicy)
	if err := t.policy.Lookup(uint32(live.Slot%slots), got); err != nil {
		return false, fmt.Errorf("read policy: %w", err)
	}
	return *got == *want && live.Slot == t.live.Slot, nil
}
