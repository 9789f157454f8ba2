package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
)

// Series names one counter of an interface.
type Series struct {
	Verdict Verdict
	Reason  Reason
	Family  Family
}

// Count is how much was counted; bytes are whole frames.
type Count struct{ Packets, Bytes uint64 }

// Counters are what the programs of one interface counted: the per-CPU map that the
// present one counts in, and those of the programs of other schemas before it.
type Counters struct {
	Live    *ebpf.Map
	Earlier []*ebpf.Map
}

// NewCounters makes an empty map for one interface's program.
func NewCounters() (*ebpf.Map, error) {
	spec, err := spec(bpf.XdpallowMapCounters)
	if err != nil {
		return nil, err
	}
	return ebpf.NewMap(spec)
}

// Read returns every series that can occur, zero ones too, sorted by verdict,
// reason and family. Each number is exact; all of them together are not a
// snapshot, because packets are counted meanwhile.
func (c Counters) Read() ([]Series, []Count, error) {
	totals, err := c.totals()
	if err != nil {
		return nil, nil, err
	}
	var all []Series
	var counts []Count
	for _, verdict := range []Verdict{Pass, Drop, Audit} {
		for _, reason := range Reasons() {
			if reason.Passes() != (verdict == Pass) {
				continue
			}
			for _, family := range []Family{IPv4, IPv6, Other} {
				all = append(all, Series{verdict, reason, family})
				total := totals[(int(verdict)*reasonRoom+int(reason))*familyCount+int(family)]
				counts = append(counts, Count{total.Packets, total.Bytes})
			}
		}
	}
	return all, counts, nil
}

// Refused is how many packets were dropped or, in audit, would have been.
func (c Counters) Refused() (packets uint64, err error) {
	totals, err := c.totals()
	for series, total := range totals {
		if series/familyCount/reasonRoom != int(Pass) {
			packets += total.Packets
		}
	}
	return packets, err
}

// Packets is how many packets were counted in all: each that the program was given.
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

func spec(name string) (*ebpf.MapSpec, error) {
	all, err := bpf.LoadXdpallow()
	if err != nil {
		return nil, err
	}
	return all.Maps[name], nil
}
