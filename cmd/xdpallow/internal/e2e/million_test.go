package e2e

import (
	numbers "encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	bench "github.com/xdpallow/xdpallow/bpf/bench"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

// This file floods as nothing else can: frames are made by the kernel, in a live test
// run of a program that gives each its source, more than a million a second.

// Of the program: bytes of its table of sources, and how it is run.
const (
	sourceTable = 1 << 22
	liveFrames  = 2 // BPF_F_TEST_XDP_LIVE_FRAMES
)

// million floods for a while. It tells the rate so far.
func (h *host) million(length time.Duration, seed uint64) func() float64 {
	h.tb.Helper()
	program, frame := h.flooder(seed)
	var running sync.WaitGroup
	var failed error
	running.Go(func() {
		failed = h.lab.Wire.Do(func() error {
			for begin := time.Now(); time.Since(begin) < length; {
				_, err := program.Run(&ebpf.RunOptions{Data: frame, Repeat: 1 << 17, Flags: liveFrames, BatchSize: 64})
				if err != nil && !errors.Is(err, unix.EINTR) {
					return err
				}
			}
			return nil
		})
	})
	h.tb.Cleanup(func() {
		running.Wait()
		h.check(failed)
	})
	return h.rate()
}

func (h *host) flooder(seed uint64) (*ebpf.Program, []byte) {
	h.tb.Helper()
	l := h.link()
	frame, err := netlab.Segment{
		SrcMAC: l.WireMAC, DstMAC: l.HostMAC,
		Src: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), Dst: h.api4(), Flags: netlab.SYN,
	}.Frame()
	h.check(err)
	frame = frame[:54]
	clear(frame[24:26])
	clear(frame[50:52])
	index, err := h.lab.Wire.Index("eth0")
	h.check(err)
	spec, err := bench.LoadFlood()
	h.check(err)
	for name, value := range map[string]any{
		"sources": mixedSources(seed), "ifindex": uint32(index), "interval": uint64(0),
		"ip_sum": wordSum(frame[14:34]), "tcp_sum": wordSum(frame[26:]) + wordSum([]byte{0, unix.IPPROTO_TCP, 0, byte(len(frame) - 34)}),
	} {
		h.check(spec.Variables[name].Set(value))
	}
	all, err := ebpf.NewCollection(spec)
	h.check(err)
	h.tb.Cleanup(all.Close)
	return all.Programs["flood"], frame
}

// mixedSources are random addresses, and of each planted /24 its share.
func mixedSources(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 2))
	table := make([]byte, sourceTable)
	for at := 0; at < len(table); at += 4 {
		source := table[at : at+4]
		numbers.BigEndian.PutUint32(source, 16<<24|random.Uint32()>>4)
		if i := int(random.Float64() / share); i < planted {
			copy(source, plantedPrefix(i).Addr().AsSlice()[:3])
		}
	}
	return table
}

// wordSum adds up 16-bit words as they are in memory.
func wordSum(b []byte) (total uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(numbers.LittleEndian.Uint16(b[i:]))
	}
	return total
}
