package maps

// This file scans the live tries, some entries at a time: to read a million entries at once takes
// seconds, in which no change could be made.

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
)

// Scan is where a scan of the live tries is. The zero value begins one; a publish makes it
// begin anew.
type Scan struct {
	Seen int // entries so far, all of them when it is complete

	tries  [2]*ebpf.Map // that it is of
	family int
	cursor ebpf.MapBatchCursor
}

// Next returns about n entries more, in no order, and whether the scan is complete: the
// next call begins another. What is put or removed meanwhile may be missed.
func (t *Tables) Next(r *Scan, n int) (entries []Entry, complete bool, err error) {
	if t.Stale() {
		*r = Scan{}
		return nil, false, nil
	}
	tries := [2]*ebpf.Map{t.families[0].trie.m, t.families[1].trie.m}
	if r.tries != tries || r.family == len(tries) {
		*r = Scan{tries: tries}
	}
	for len(entries) < n && r.family < len(tries) {
		part, last, err := t.families[r.family].trie.slice(&r.cursor, n)
		if err != nil {
			*r = Scan{}
			return nil, false, err
		}
		entries = append(entries, part...)
		if last {
			r.family, r.cursor = r.family+1, ebpf.MapBatchCursor{}
		}
	}
	r.Seen += len(entries)
	return entries, r.family == len(tries), nil
}

func (t trie) slice(cursor *ebpf.MapBatchCursor, n int) ([]Entry, bool, error) {
	if t.ipv4 {
		return batchNext(t.m, cursor, n, key4.prefix)
	}
	return batchNext(t.m, cursor, n, key6.prefix)
}

func batchNext[K any](m *ebpf.Map, cursor *ebpf.MapBatchCursor, size int, prefix func(K) netip.Prefix) ([]Entry, bool, error) {
	keys, values := make([]K, size), make([]bpf.XdpallowEntry, size)
	n, err := m.BatchLookup(cursor, keys, values, nil)
	last := errors.Is(err, ebpf.ErrKeyNotExist)
	if err != nil && !last {
		return nil, false, fmt.Errorf("read entries: %w", err)
	}
	entries := make([]Entry, n)
	for i := range n {
		entries[i] = entryOf(prefix(keys[i]), values[i])
	}
	return entries, last, nil
}

// Count is how many entries of each family the live tries have, by their memory: it
// takes no time. False where the kernel does not tell, before 6.4.
func (t *Tables) Count() (counts [2]int, known bool, err error) {
	if t.Stale() {
		return counts, false, nil
	}
	for family, slot := range t.families {
		if t.node[family] == 0 {
			if t.node[family], err = nodeSize(family == 0); err != nil || t.node[family] == 0 {
				return counts, false, err
			}
		}
		size, err := memory(slot.trie.m)
		if err != nil {
			return counts, false, err
		}
		counts[family] = int(size / t.node[family])
	}
	return counts, true, nil
}

// nodeSize is what one entry of a trie takes, 0 where the kernel charges by room.
func nodeSize(ipv4 bool) (uint64, error) {
	one, err := newTrie(ipv4, 1)
	if err != nil {
		return 0, err
	}
	defer one.m.Close()
	if empty, err := memory(one.m); empty != 0 || err != nil {
		return 0, err
	}
	addr := netip.IPv6Unspecified()
	if ipv4 {
		addr = netip.IPv4Unspecified()
	}
	if err := one.put(Entry{Prefix: netip.PrefixFrom(addr, addr.BitLen())}); err != nil {
		return 0, err
	}
	return memory(one.m)
}

func memory(m *ebpf.Map) (uint64, error) {
	info, err := m.Info()
	if err != nil {
		return 0, fmt.Errorf("read info of a trie: %w", err)
	}
	size, _ := info.Memlock() // false is 0
	return size, nil
}
