package query

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/maps"
)

// This file reads the counters.

// Stats reads the counters of every interface, and of owners with so many prefixes.
func (v *View) Stats(prefixes map[string]int) (api.Stats, error) {
	s := api.Stats{Counters: []api.Counter{}, Since: v.Since}
	owners, err := v.Owners(prefixes)
	if err != nil {
		return s, err
	}
	s.Owners = owners.Owners
	for _, name := range v.Gate.Attached() {
		counters, err := v.Gate.Counters(name)
		if err != nil {
			return s, err
		}
		if err := CountSeries(&s, "xdp", name, counters); err != nil {
			return s, err
		}
	}
	if counters, ok := v.Gate.BackstopCounters(); ok {
		return s, CountSeries(&s, "backstop", "", counters)
	}
	return s, nil
}

// CountSeries adds every series of one program.
func CountSeries(s *api.Stats, layer, name string, counters maps.Counters) error {
	series, counts, err := counters.Read()
	if err != nil {
		return fmt.Errorf("%s %s: %w", layer, name, err)
	}
	for i, at := range series {
		s.Counters = append(s.Counters, api.Counter{
			Interface: name, Layer: layer,
			Verdict: at.Verdict.String(), Reason: at.Reason.String(), Family: at.Family.String(),
			Packets: counts[i].Packets, Bytes: counts[i].Bytes,
		})
	}
	return nil
}
