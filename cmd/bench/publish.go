// This file measures what a list costs besides packets: the time of a publish beside
// that of putting the same keys into a bare trie, and memory.
package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
)

const (
	partPublish = "publish"
	fixedMemory = 16 << 20 // bytes that do not grow with the list
)

// publish measures replacements of a whole list by one of the same size: a first
// publish has less to do.
func publish(rounds int) (s samples, err error) {
	for _, n := range []int{100_000, 1_000_000} {
		l, group := newList(n, false), fmt.Sprint(n)
		before, err := freedMemory()
		if err != nil {
			return nil, err
		}
		tables, err := maps.OpenTables(noPins{})
		if err != nil {
			return nil, err
		}
		defer tables.Close()
		want := policy(1, l)
		if _, err := tables.Publish(want); err != nil {
			return nil, err
		}
		for round := range rounds {
			bare, err := bareTrie(l.prefixes)
			if err != nil {
				return nil, err
			}
			sorted, err := bareTrie(slices.SortedFunc(slices.Values(l.prefixes), netip.Prefix.Compare))
			if err != nil {
				return nil, err
			}
			start := time.Now()
			want.Generation++
			if _, err := tables.Publish(want); err != nil {
				return nil, err
			}
			took := time.Since(start)
			after, err := freedMemory()
			if err != nil {
				return nil, err
			}
			s = append(s, sample{round, group, "bare", bare.Seconds()},
				sample{round, group, "bare, sorted keys", sorted.Seconds()}, sample{round, group, "publish", took.Seconds()},
				sample{round, group, "bytes an entry", (float64(after) - float64(before) - fixedMemory) / float64(n)})
		}
	}
	return s, nil
}

// bareTrie is the time of one BatchUpdate of those keys, in that order: sorted, they
// make neighbours of what is looked up together, and take a third of the time.
func bareTrie(prefixes []netip.Prefix) (time.Duration, error) {
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		return 0, err
	}
	trie := spec.Maps[bpf.XdpallowMapTrie4]
	trie.MaxEntries = uint32(len(prefixes))
	m, err := ebpf.NewMap(trie)
	if err != nil {
		return 0, fmt.Errorf("make a bare trie: %w", err)
	}
	defer m.Close()
	type key struct {
		Length  uint32
		Address [4]byte
	}
	keys := make([]key, len(prefixes))
	for i, p := range prefixes {
		keys[i] = key{uint32(p.Bits()), p.Addr().As4()}
	}
	values := make([]bpf.XdpallowEntry, len(prefixes))
	start := time.Now()
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return 0, fmt.Errorf("fill a bare trie: %w", err)
	}
	return time.Since(start), nil
}

// freedMemory returns the kernel's memory for maps in bytes, once it no longer shrinks: tries are
// freed in the background.
func freedMemory() (uint64, error) {
	runtime.GC()
	last, err := kernelMemory()
	for range 20 {
		time.Sleep(500 * time.Millisecond)
		now, err := kernelMemory()
		if err != nil {
			return 0, err
		}
		if now+(1<<20) >= last {
			return now, nil
		}
		last = now
	}
	return last, err
}

// kernelMemory is slabs, which tries are made of, vmalloc, which arrays are made of,
// and per-CPU memory.
func kernelMemory() (total uint64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var name string
		var kilobytes uint64
		fmt.Sscan(lines.Text(), &name, &kilobytes)
		if name == "Slab:" || name == "VmallocUsed:" || name == "Percpu:" {
			total += kilobytes << 10
		}
	}
	return total, nil
}
