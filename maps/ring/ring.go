package maps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/xdpallow/xdpallow/bpf"
)

// Event is a refused packet that was sampled.
type Event struct {
	Time      uint64     // CLOCK_BOOTTIME in ns
	Source    netip.Addr // invalid where none was read, or it names nobody
	Interface uint32     // index; 0 is the backstop
	Weight    uint32     // how many refused packets it stands for
	Length    uint32     // bytes of the frame; 0 in the backstop
	Port      uint16     // 0 where none was read
	Protocol  uint8      // of IP; 0 where none was read
	Family    Family
	Verdict   Verdict
	Reason    Reason
	Near      bool // its source is in the /24 or /48 of a listed prefix, probably
}

// Events reads the samples of all programs on these tables. One reader: two would each
// get a part.
type Events struct{ reader *ringbuf.Reader }

// Events opens the ring of samples.
func (t *Tables) Events() (*Events, error) {
	reader, err := ringbuf.NewReader(t.events)
	if err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	return &Events{reader}, nil
}

// Close ends the reading.
func (e *Events) Close() error { return e.reader.Close() }

// Drain calls fn for every event that is there. The programs wake nobody, so it is for
// a caller who comes by often enough, ten times a second.
func (e *Events) Drain(fn func(Event)) error {
	e.reader.SetDeadline(time.Unix(1, 0))
	var record ringbuf.Record
	for {
		err := e.reader.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if event, ok := eventOf(record.RawSample); ok {
			fn(event)
		}
	}
}

func eventOf(raw []byte) (Event, bool) {
	var value bpf.XdpallowEvent
	if _, err := binary.Decode(raw, binary.NativeEndian, &value); err != nil {
		return Event{}, false
	}
	e := Event{
		Time: value.Time, Interface: value.Interface, Weight: value.Weight, Length: value.Length,
		Port: value.Port, Protocol: value.Protocol, Family: Family(value.Family),
		Verdict: Verdict(value.Verdict), Reason: Reason(value.Reason), Near: value.Near != 0,
	}
	switch {
	case value.Source == [16]uint8{}: // 0.0.0.0 and :: are no talkers, who is cut off looks like them
	case e.Family == IPv4:
		e.Source = netip.AddrFrom4([4]byte(value.Source[:4]))
	case e.Family == IPv6:
		e.Source = netip.AddrFrom16(value.Source)
	}
	return e, true
}

// Lost is how many samples found the ring full.
func (t *Tables) Lost() (uint64, error) {
	var values []uint64
	if err := t.lost.Lookup(uint32(0), &values); err != nil {
		return 0, fmt.Errorf("read lost events: %w", err)
	}
	var total uint64
	for _, value := range values {
		total += value
	}
	return total, nil
}

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
