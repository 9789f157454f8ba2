package maps

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/bpf"
)

// trie is one LPM trie: the entries of one family in one slot.
type trie struct {
	m    *ebpf.Map
	ipv4 bool
}

// headRoom is how many entries a trie of n may grow by patches before it has to
// be needsPublish bigger. It costs nothing: nodes are allocated one by one.
func headRoom(n int) uint32 { return uint32(n + n/4 + 1024) }

func newTrie(ipv4 bool, entries int) (trie, error) {
	template := bpf.XdpallowMapTrie6
	if ipv4 {
		template = bpf.XdpallowMapTrie4
	}
	all, err := bpf.LoadXdpallow()
	if err != nil {
		return trie{}, err
	}
	spec := all.Maps[template]
	spec.MaxEntries = headRoom(entries)
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return trie{}, fmt.Errorf("make %s: %w", template, err)
	}
	return trie{m, ipv4}, nil
}

func (t trie) key(p netip.Prefix) any {
	if t.ipv4 {
		return keyOf4(p)
	}
	return keyOf6(p)
}

func (t trie) put(e Entry) error {
	return retry(func() error { return t.m.Put(t.key(e.Prefix), e.value()) })
}

func (t trie) delete(p netip.Prefix) error { return t.m.Delete(t.key(p)) }

// lookup returns the entry of exactly p: a trie answers with the longest match,
// and the length in its value says whether that is p itself.
func (t trie) lookup(p netip.Prefix) (Entry, bool, error) {
	var v bpf.XdpallowEntry
	err := t.m.Lookup(t.key(p), &v)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Entry{}, false, nil
	}
	return entryOf(p, v), err == nil && int(v.Length) == p.Bits(), err
}

// fill puts all entries, in one batch where the kernel manages it. Some kernels
// stop a batch with ENOMEM though memory is free, so what is left goes one by one.
func (t trie) fill(entries []Entry) error {
	values := make([]bpf.XdpallowEntry, len(entries))
	for i, e := range entries {
		values[i] = e.value()
	}
	var done int
	var err error
	if t.ipv4 {
		done, err = batchPut(t.m, entries, values, keyOf4)
	} else {
		done, err = batchPut(t.m, entries, values, keyOf6)
	}
	if err == nil {
		return nil
	}
	for _, e := range entries[min(done, len(entries)):] {
		if err := t.put(e); err != nil {
			return fmt.Errorf("put %v: %w", e.Prefix, err)
		}
	}
	return nil
}

func batchPut[K any](m *ebpf.Map, entries []Entry, values []bpf.XdpallowEntry, key func(netip.Prefix) K) (int, error) {
	if len(entries) == 0 {
		return 0, nil
	}
	keys := make([]K, len(entries))
	for i, e := range entries {
		keys[i] = key(e.Prefix)
	}
	return batchUpdate(m, keys, values)
}

// batchUpdate is a variable so that tests can fail it as kernels have.
var batchUpdate = func(m *ebpf.Map, keys, values any) (int, error) {
	return m.BatchUpdate(keys, values, nil)
}

// retry repeats what fails for want of memory, for about two seconds in all: the
// allocator of BPF maps refills from another context and may lag behind us.
func retry(do func() error) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := do()
		if !errors.Is(err, unix.ENOMEM) || wait > time.Second {
			return err
		}
		time.Sleep(wait)
	}
}

// all calls yield for every entry, in no order.
func (t trie) all(yield func(Entry) error) error {
	if t.ipv4 {
		return batchAll(t.m, key4.prefix, yield)
	}
	return batchAll(t.m, key6.prefix, yield)
}

func batchAll[K any](m *ebpf.Map, prefix func(K) netip.Prefix, yield func(Entry) error) error {
	const size = 4096
	keys, values := make([]K, size), make([]bpf.XdpallowEntry, size)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("read entries: %w", err)
		}
		for i := range n {
			if err := yield(entryOf(prefix(keys[i]), values[i])); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// verify reads the trie back and compares it with sorted, entry for entry. What a
// batch claims to have written is not proof; this is.
func (t trie) verify(sorted []Entry) error {
	var n, next int
	err := t.all(func(got Entry) error {
		n++
		// The kernel walks in this order, but for what covers others: that comes after them.
		i, found := next, next < len(sorted) && sorted[next].Prefix == got.Prefix
		if !found {
			i, found = slices.BinarySearchFunc(sorted, got.Prefix, func(e Entry, p netip.Prefix) int {
				return comparePrefix(e.Prefix, p)
			})
		}
		next = max(next, i+1)
		if !found {
			return fmt.Errorf("%v was never put", got.Prefix)
		}
		if !got.SamePolicy(sorted[i]) {
			return fmt.Errorf("%v reads back as %+v", sorted[i], got)
		}
		return nil
	})
	if err == nil && n != len(sorted) {
		err = fmt.Errorf("%d of %d entries read back", n, len(sorted))
	}
	return err
}
