// Package counters reads what the programs of an interface counted.
package counters

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
)

// How long the kernel's array is in each of its three directions.
const (
	verdictCount = int(bpf.XdpallowVerdictVERDICT_COUNT)
	reasonRoom   = int(bpf.XdpallowReasonREASON_ROOM)
	familyCount  = int(bpf.XdpallowFamilyFAMILY_COUNT)
)

// Series names one counter of an interface.
type Series struct {
	Verdict maps.Verdict
	Reason  maps.Reason
	Family  maps.Family
}

// Count is how much was counted; bytes are whole frames.
type Count struct{ Packets, Bytes uint64 }

// Counters are what the programs of one interface counted: the per-CPU map that the
// present one counts in, and those of the programs of other schemas before it.
type Counters struct {
	Live    *ebpf.Map
	Earlier []*ebpf.Map
}

// New makes an empty map for one interface's program. The caller closes it. The error is the kernel's.
func New() (*ebpf.Map, error) {
	all, err := bpf.LoadXdpallow()
	if err != nil {
		return nil, err
	}
	return ebpf.NewMap(all.Maps[bpf.XdpallowMapCounters])
}

// Read returns every series that can occur, zero ones too, sorted by verdict,
// reason and family. Each number is exact; all of them together are not a
// snapshot, because packets are counted meanwhile. The error is the kernel's, of reading a map.
func (c Counters) Read() ([]Series, []Count, error) {
	totals, err := c.totals()
	if err != nil {
		return nil, nil, err
	}
	var all []Series
	var counts []Count
	for _, verdict := range []maps.Verdict{maps.Pass, maps.Drop, maps.Audit} {
		for _, reason := range maps.Reasons() {
			if reason.Passes() != (verdict == maps.Pass) {
				continue
			}
			for _, family := range []maps.Family{maps.IPv4, maps.IPv6, maps.Other} {
				all = append(all, Series{verdict, reason, family})
				total := totals[(int(verdict)*reasonRoom+int(reason))*familyCount+int(family)]
				counts = append(counts, Count{total.Packets, total.Bytes})
			}
		}
	}
	return all, counts, nil
}

// Refused is how many packets were dropped or, in audit, would have been. Errors are those of Read.
func (c Counters) Refused() (packets uint64, err error) {
	totals, err := c.totals()
	for series, total := range totals {
		if series/familyCount/reasonRoom != int(maps.Pass) {
			packets += total.Packets
		}
	}
	return packets, err
}

// Packets is how many packets were counted in all: each that the program was given. Errors are those of Read.
func (c Counters) Packets() (packets uint64, err error) {
	totals, err := c.totals()
	for _, total := range totals {
		packets += total.Packets
	}
	return packets, err
}

func (c Counters) totals() ([]bpf.XdpallowCounter, error) {
	totals := make([]bpf.XdpallowCounter, verdictCount*reasonRoom*familyCount)
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count possible CPUs: %w", err)
	}
	values := make([]bpf.XdpallowCounter, len(totals)*cpus)
	for _, m := range append([]*ebpf.Map{c.Live}, c.Earlier...) {
		var cursor ebpf.MapBatchCursor
		n, err := m.BatchLookup(&cursor, make([]uint32, len(totals)), values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		if n != len(totals) {
			return nil, fmt.Errorf("read counters: %d of %d elements", n, len(totals))
		}
		for i, value := range values {
			totals[i/cpus].Packets += value.Packets
			totals[i/cpus].Bytes += value.Bytes
		}
	}
	return totals, nil
}
