package query

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/maps"
)

// This file reads the counters and how the interfaces are guarded.

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

// Interfaces asks the kernel how each interface is guarded.
func (v *View) Interfaces() []api.Interface {
	all := []api.Interface{}
	for _, name := range v.Gate.Attached() {
		at, _ := v.Gate.Inspect(name) // what cannot be read is not attached
		all = append(all, api.Interface{
			Name: name, Attach: string(at.Mode), Reason: at.Reason,
			LinkID: at.LinkID, ProgramID: at.ProgramID, Attached: at.Mode != "", BackstopRefused: at.Refused,
		})
	}
	return all
}

// Backstop reports the second door; nil when there is none.
func (v *View) Backstop() *api.Backstop {
	at, err := v.Gate.Backstop()
	if err != nil || at == (loader.Backstop{}) {
		return nil
	}
	return &api.Backstop{LinkID: at.LinkID, ProgramID: at.ProgramID, Attached: at.Attached}
}
