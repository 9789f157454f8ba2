// This file is the attacker of parts (b) and (c): a SYN flood at millions a second.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	programs "github.com/xdpallow/xdpallow/bpf/bench"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

const (
	liveFrames = 2  // BPF_F_TEST_XDP_LIVE_FRAMES
	floodBatch = 64 // a veth's ring holds 256
)

// flood sends from a lab's wire to its host.
type flood struct {
	lab     *netlab.Lab
	frame   []byte
	program *ebpf.Program
	sent    *ebpf.Variable
	paused  *ebpf.Variable
	nice    int
	repeat  uint32 // frames, sent or not, in one system call
}

// newFlood makes one of rate frames a second; 0 is as fast as one CPU can.
func newFlood(lab *netlab.Lab, sources []byte, rate int) (*flood, error) {
	l := lab.Link("eth0")
	frame, err := synFrame(l)
	if err != nil {
		return nil, err
	}
	index, err := lab.Wire.Index("eth0")
	if err != nil {
		return nil, err
	}
	spec, err := programs.LoadFlood()
	if err != nil {
		return nil, err
	}
	interval, repeat, nice := uint64(0), uint32(1<<17), 0
	if rate > 0 {
		repeat = 1 << 22 // a call takes 16 ms before its first frame: a gap in the flood
		nice = 10
		interval = uint64(time.Second) / uint64(rate)
	}
	// TCP's sum takes in the addresses, the protocol and the length.
	ip, tcp := sum(frame[14:34]), sum(frame[26:])+sum([]byte{0, unix.IPPROTO_TCP, 0, byte(len(frame) - 34)})
	for name, value := range map[string]any{"sources": sources, "ifindex": uint32(index), "interval": interval, "ip_sum": ip, "tcp_sum": tcp} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of the flood: %w", name, err)
		}
	}
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load the flood: %w", err)
	}
	return &flood{lab, frame, all.Programs["flood"], all.Variables["sent"], all.Variables["paused"], nice, repeat}, nil
}

// synFrame is a SYN over the link with nothing in the fields that vary.
func synFrame(l *netlab.Link) ([]byte, error) {
	frame, err := netlab.Segment{
		SrcMAC: l.WireMAC, DstMAC: l.HostMAC,
		Src: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), Dst: netip.AddrPortFrom(l.Host4, port), Flags: netlab.SYN,
	}.Frame()
	if err != nil {
		return nil, err
	}
	frame = frame[:54]
	copy(frame[24:26], []byte{0, 0})
	copy(frame[50:52], []byte{0, 0})
	return frame, nil
}

// sum adds up 16-bit words as they are in memory.
func sum(b []byte) (total uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(binary.LittleEndian.Uint16(b[i:]))
	}
	return total
}

// run floods for a while, or a little longer, from this CPU and returns how many frames
// a second were sent.
func (f *flood) run(cpu int, duration time.Duration) (float64, error) {
	var before, after uint64
	start := time.Now()
	err := f.lab.Wire.Do(func() error {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return err
		}
		// A paced flood makes up for what others take of its CPU.
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, f.nice); err != nil {
			return err
		}
		if err := f.sent.Get(&before); err != nil {
			return err
		}
		for time.Since(start) < duration {
			if _, err := f.program.Run(&ebpf.RunOptions{Data: f.frame, Repeat: f.repeat, Flags: liveFrames, BatchSize: floodBatch}); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("send live frames: %w", err)
			}
		}
		return f.sent.Get(&after)
	})
	return float64(after-before) / time.Since(start).Seconds(), err
}
