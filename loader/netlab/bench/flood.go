// This file is the attacker of parts (b) and (c): a SYN flood at millions a second.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
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
	held    link.Link // goes with the lab
	repeat  uint32    // frames of one system call
}

func newFlood(lab *netlab.Lab, sources []byte) (*flood, error) {
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
	// TCP's sum takes in the addresses, the protocol and the length.
	ip, tcp := sum(frame[14:34]), sum(frame[26:])+sum([]byte{0, unix.IPPROTO_TCP, 0, byte(len(frame) - 34)})
	for name, value := range map[string]any{"sources": sources, "ifindex": uint32(index), "ip_sum": ip, "tcp_sum": tcp} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of the flood: %w", name, err)
		}
	}
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load the flood: %w", err)
	}
	f := &flood{lab: lab, frame: frame, program: all.Programs["flood"], sent: all.Variables["sent"], repeat: 1 << 17}
	return f, f.hold()
}

// hold attaches the program where nothing comes by. The kernel keeps a list of XDP programs
// in use; to get into it and out again takes a test run 16 ms, and this one is in it. Not
// in generic mode: that has a price for every packet of the machine.
func (f *flood) hold() error {
	const spare = "spare0"
	add := f.lab.Wire.Command(context.Background(), "ip", "link", "add", spare, "type", "veth", "peer", "name", "spare1")
	if out, err := add.CombinedOutput(); err != nil {
		return fmt.Errorf("add %s: %w: %s", spare, err, out)
	}
	index, err := f.lab.Wire.Index(spare)
	if err != nil {
		return err
	}
	return f.lab.Wire.Do(func() error {
		f.held, err = link.AttachXDP(link.XDPOptions{Program: f.program, Interface: index, Flags: link.XDPDriverMode})
		if err != nil {
			return fmt.Errorf("hold the flood: %w", err)
		}
		return nil
	})
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

func (f *flood) send(frames uint32) error {
	if _, err := f.program.Run(&ebpf.RunOptions{Data: f.frame, Repeat: frames, Flags: liveFrames, BatchSize: floodBatch}); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("send live frames: %w", err)
	}
	return nil
}

// arrived returns how many frames the host has had of the flood since it was made. Nothing
// else is sent so fast that the host's ring could have no room for it.
func (f *flood) arrived() (frames uint64, err error) {
	if err := f.sent.Get(&frames); err != nil {
		return 0, err
	}
	wire, err := f.lab.Wire.Statistics("eth0")
	return frames - wire.TxDropped, err
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
		if err := f.sent.Get(&before); err != nil {
			return err
		}
		for time.Since(start) < duration {
			if err := f.send(f.repeat); err != nil {
				return err
			}
		}
		return f.sent.Get(&after)
	})
	return float64(after-before) / time.Since(start).Seconds(), err
}

// pulse sends a burst each period from this CPU while on says so, until over does. Like a
// NIC's interrupt it goes before whatever else there is to do.
func (f *flood) pulse(cpu int, burst uint32, period time.Duration, on, over *atomic.Bool) error {
	return f.lab.Wire.Do(func() error {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return err
		}
		if err := goAhead(0, 1); err != nil {
			return err
		}
		for next := time.Now(); !over.Load(); next = next.Add(period) {
			if on.Load() {
				if err := f.send(burst); err != nil {
					return err
				}
			}
			if wait := unix.NsecToTimespec(int64(time.Until(next.Add(period)))); wait.Nano() > 0 {
				unix.Nanosleep(&wait, nil) // interrupted: a burst comes early
			} else {
				next = time.Now() // who is late does not catch up
			}
		}
		return nil
	})
}

// goAhead puts a thread before all ordinary ones.
func goAhead(thread int, priority uint32) error {
	return unix.SchedSetAttr(thread, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority}, 0)
}
