// Package liveflood floods the host of a lab with a million SYNs a second and more, of IPv4: the
// kernel makes the frames, in a live test run of a program that gives each one a source, a port
// and a sequence number of its own. For tests and for the benchmark.
package liveflood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	programs "github.com/xdpallow/xdpallow/bpf/bench"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Table is the size in bytes of a flood's sources: addresses of 4 bytes in network byte order,
// which it uses one after another and then from the beginning again.
const Table = 1 << 22

const (
	liveFrames = 2  // BPF_F_TEST_XDP_LIVE_FRAMES
	batch      = 64 // a veth's ring holds 256
)

// Flood is a flood of SYNs over eth0. Whoever made it must Close it, or the lab.
type Flood struct {
	lab     *netlab.Lab
	frame   []byte
	program *ebpf.Program
	sent    *ebpf.Variable
	held    link.Link
}

// New makes a flood to a port of the host.
func New(lab *netlab.Lab, port uint16, sources []byte) (*Flood, error) {
	l := lab.Link("eth0")
	frame, err := syn(l, port)
	if err != nil {
		return nil, err
	}
	index, err := lab.Wire.Index(l.Name)
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
	defer all.Close()
	f := &Flood{lab: lab, frame: frame, program: all.DetachProgram("flood"), sent: all.Variables["sent"]}
	if err := f.hold(); err != nil {
		return nil, errors.Join(err, f.program.Close())
	}
	return f, nil
}

// hold attaches the program to a device without traffic. The kernel keeps a list of XDP programs
// in use, and a test run of a program that is not in it takes 16 ms to enter and leave. It is
// not attached in generic mode, which would cost time for every packet of the machine.
func (f *Flood) hold() error {
	const spare = "spare0"
	add := labtest.Command(context.Background(), f.lab.Wire, "ip", "link", "add", spare, "type", "veth", "peer", "name", "spare1")
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

// Close ends the flood for good.
func (f *Flood) Close() error { return errors.Join(f.held.Close(), f.program.Close()) }

// Send sends so many frames from the CPU that it runs on, in the namespace of the wire:
// what calls it is in [netlab.Namespace.Do]. A signal ends it early.
func (f *Flood) Send(frames uint32) error {
	_, err := f.program.Run(&ebpf.RunOptions{Data: f.frame, Repeat: frames, Flags: liveFrames, BatchSize: batch})
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("send live frames: %w", err)
	}
	return nil
}

// Sent returns how many frames were sent since the flood was made.
func (f *Flood) Sent() (frames uint64, err error) {
	err = f.sent.Get(&frames)
	return frames, err
}

// syn is a SYN over the link with nothing in the fields that vary.
func syn(l *netlab.Link, port uint16) ([]byte, error) {
	frame, err := labtest.Segment{
		SrcMAC: l.WireMAC, DstMAC: l.HostMAC,
		Src: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), Dst: netip.AddrPortFrom(l.Host4, port), Flags: labtest.SYN,
	}.Frame()
	if err != nil {
		return nil, err
	}
	frame = frame[:54]
	clear(frame[24:26])
	clear(frame[50:52])
	return frame, nil
}

// sum adds up 16-bit words as they are in memory.
func sum(b []byte) (total uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(binary.LittleEndian.Uint16(b[i:]))
	}
	return total
}
