package query

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/maps/counters"
)

// This file reads the counters.

// Stats reads the counters of every interface and owner.
func (v *View) Stats() (api.Stats, error) {
	s := api.Stats{Counters: []api.Counter{}, Since: v.Since}
	owners, err := v.Owners()
	if err != nil {
		return s, err
	}
	s.Owners = owners.Owners
	s.Counters, err = Counters(v.Gate)
	return s, err
}

// Counters reads every series of every program.
func Counters(gate *loader.Gate) ([]api.Counter, error) {
	all := []api.Counter{}
	err := gate.EachCounters(func(layer loader.Layer, name string, c counters.Counters) error {
		series, counts, err := c.Read()
		if err != nil {
			return fmt.Errorf("%s %s: %w", layer, name, err)
		}
		for i, at := range series {
			all = append(all, api.Counter{
				Interface: name, Layer: string(layer),
				Verdict: at.Verdict.String(), Reason: at.Reason.String(), Family: at.Family.String(),
				Packets: counts[i].Packets, Bytes: counts[i].Bytes,
			})
		}
		return nil
	})
	return all, err
}
