// Package ring reads the refused packets that the programs of a gate have sampled, out of the
// ring buffer that they share.
package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
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
	Family    maps.Family
	Verdict   maps.Verdict
	Reason    maps.Reason
	Near      bool // its source is in the /24 or /48 of a listed prefix, probably
}

// Reader reads the samples of all programs on some tables. Only one Reader may be
// open at a time: two would split the samples.
type Reader struct {
	reader *ringbuf.Reader
	lost   *ebpf.Map
}

// Open opens the ring of samples of tables. The caller closes it.
func Open(tables *maps.Tables) (*Reader, error) {
	all := tables.Replacements()
	reader, err := ringbuf.NewReader(all[bpf.XdpallowMapEvents])
	if err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	return &Reader{reader, all[bpf.XdpallowMapLost]}, nil
}

// Close ends the reading. The maps are those of tables, and stay open.
func (r *Reader) Close() error { return r.reader.Close() }

// Drain calls fn for every event that is there. The programs wake nobody, so it is for
// a caller who comes by often enough, ten times a second. It does not wait for events; it returns
// an error of the ring after fn has had the events before it.
func (r *Reader) Drain(fn func(Event)) error {
	r.reader.SetDeadline(time.Unix(1, 0))
	var record ringbuf.Record
	for {
		err := r.reader.ReadInto(&record)
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
		Port: value.Port, Protocol: value.Protocol, Family: maps.Family(value.Family),
		Verdict: maps.Verdict(value.Verdict), Reason: maps.Reason(value.Reason), Near: value.Near != 0,
	}
	switch {
	case value.Source == [16]uint8{}: // 0.0.0.0 and :: are nobody: a frame without its address has zeros here, too
	case e.Family == maps.IPv4:
		e.Source = netip.AddrFrom4([4]byte(value.Source[:4]))
	case e.Family == maps.IPv6:
		e.Source = netip.AddrFrom16(value.Source)
	}
	return e, true
}

// Lost is how many samples found the ring full since the tables were made. The error is the kernel's.
func (r *Reader) Lost() (uint64, error) {
	var values []uint64
	if err := r.lost.Lookup(uint32(0), &values); err != nil {
		return 0, fmt.Errorf("read lost events: %w", err)
	}
	var total uint64
	for _, value := range values {
		total += value
	}
	return total, nil
}
