package maps

// This file says which refused packets the programs sample; package ring reads the samples.

import (
	"math"

	"github.com/xdpallow/xdpallow/bpf"
)

// rarest is the number of refused packets of which one is the fewest to be sampled.
const rarest = 1 << 32 / uint64(bpf.XdpallowLimitMIN_SAMPLED)

// SetSampling says that of so many refused packets one is sampled: of all others, and of
// near misses; 1 is every one. It may be called beside a writer.
func (t *Tables) SetSampling(one, near uint32) error {
	// Though it be what we wrote before: the programs lower it themselves when nobody reads.
	return t.edit(func(c *bpf.XdpallowCurrent) { c.Sample, c.SampleNear = share(one), share(near) })
}

// share is one of so many as the kernel has it, of 2^32.
func share(one uint32) uint32 {
	return uint32(min(1<<32/min(max(uint64(one), 1), rarest), math.MaxUint32))
}
