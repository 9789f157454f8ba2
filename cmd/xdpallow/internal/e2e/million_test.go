package e2e

// This file is the flood of `make soak`: a known share of it comes from a few networks.

import (
	numbers "encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab/liveflood"
)

// million floods for a while, with more than a million SYNs a second. It tells the rate so
// far.
func (h *host) million(length time.Duration, seed uint64) func() float64 {
	h.tb.Helper()
	flood, err := liveflood.New(h.lab, h.api4().Port(), mixedSources(seed))
	h.check(err)
	var running sync.WaitGroup
	var failed error
	running.Go(func() {
		failed = h.lab.Wire.Do(func() error {
			for begin := time.Now(); time.Since(begin) < length; {
				if err := flood.Send(1 << 17); err != nil {
					return err
				}
			}
			return nil
		})
	})
	h.tb.Cleanup(func() {
		running.Wait()
		h.check(failed)
		h.check(flood.Close())
	})
	return h.rate()
}

// mixedSources are random addresses, and of each planted /24 its share.
func mixedSources(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 2))
	table := make([]byte, liveflood.Table)
	for at := 0; at < len(table); at += 4 {
		source := table[at : at+4]
		numbers.BigEndian.PutUint32(source, 16<<24|random.Uint32()>>4)
		if i := int(random.Float64() / share); i < planted {
			copy(source, plantedPrefix(i).Addr().AsSlice()[:3])
		}
	}
	return table
}
