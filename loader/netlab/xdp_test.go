// This file holds that a lab is a fit place for native XDP: frames are counted
// exactly there too, and what a program redirects arrives.

package netlab_test

import (
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// drop and redirectTo are endings of a program.
func drop() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}
}

func redirectTo(index int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
	}
}

// attach puts a program on the host's eth0 that counts each IPv4 frame and does
// with it as ending says. Others pass uncounted: IPv6 talks by itself.
func attach(t *testing.T, lab *netlab.Lab, ending asm.Instructions) (counter *ebpf.Map) {
	t.Helper()
	counter = labtest.Must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}))(t)
	t.Cleanup(func() { counter.Close() })
	count := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R4, 0x0008, "pass"), // 0x0800 as the CPU reads it
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
	}
	pass := asm.Instructions{asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"), asm.Return()}
	program := labtest.Must(ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, Instructions: slices.Concat(count, ending, pass),
	}))(t)
	t.Cleanup(func() { program.Close() })
	options := link.XDPOptions{
		Program: program, Interface: labtest.Must(lab.Host.Index("eth0"))(t), Flags: link.XDPDriverMode,
	}
	err := lab.Host.Do(func() error {
		attached, err := link.AttachXDP(options)
		if err == nil {
			t.Cleanup(func() { attached.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return counter
}

func counted(t *testing.T, counter *ebpf.Map) (frames uint64) {
	t.Helper()
	if err := counter.Lookup(uint32(0), &frames); err != nil {
		t.Fatal(err)
	}
	return frames
}

// A program sees each frame of a flood that did not get lost before it, and TCP
// sees none that it dropped.
func TestFloodMeetsNativeXDP(t *testing.T) {
	lab := labtest.New(t)
	counter := attach(t, lab, drop())
	eth0 := lab.Link("eth0")
	segments := labtest.TCPInSegs(t, lab.Host)
	flooded, err := eth0.Flood(t.Context(), netlab.Flood{
		Sources: netip.MustParsePrefix("198.18.0.0/15"), Target: netip.AddrPortFrom(eth0.Host4, closed), Count: 100_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v: %.0f frames a second", flooded, float64(flooded.Sent)/flooded.Elapsed.Seconds())
	settle(t, "frames seen by the program", flooded.Arrived(), func() uint64 { return counted(t, counter) })
	if got := labtest.TCPInSegs(t, lab.Host) - segments; got != 0 {
		t.Errorf("TCP was given %d segments, want 0", got)
	}
	labtest.Expect(t, lab.Wire, netlab.Listed4, netip.AddrPortFrom(eth0.Host4, closed), netlab.Dropped)
	labtest.Expect(t, lab.Wire, netlab.Listed6, netip.AddrPortFrom(eth0.Host6, closed), netlab.Refused)
}

// A veth end that does not poll loses what another interface's program sends
// to it.
func TestRedirectedFramesArrive(t *testing.T) {
	lab := labtest.New(t)
	eth0, eth1 := lab.Link("eth0"), labtest.Must(lab.AddLink("eth1"))(t)
	counter := attach(t, lab, redirectTo(labtest.Must(lab.Host.Index("eth1"))(t)))
	arrived := countReceived(t, lab.Wire, eth1.Name)
	const count = 100
	var frames [][]byte
	for i := range uint16(count) {
		frame := labtest.Must(eth0.SYN(netip.AddrPortFrom(netlab.Unlisted4, 2000+i), netip.AddrPortFrom(eth0.Host4, closed)))(t)
		frames = append(frames, frame)
	}
	if err := eth0.Send(frames...); err != nil {
		t.Fatal(err)
	}
	settle(t, "frames seen by the program", count, func() uint64 { return counted(t, counter) })
	settle(t, "frames at the other end", count, arrived)
}

// countReceived counts IPv4 frames that an interface receives.
func countReceived(t *testing.T, ns *netlab.Namespace, ifname string) func() uint64 {
	t.Helper()
	fd := -1
	index := labtest.Must(ns.Index(ifname))(t)
	ipv4 := bits.ReverseBytes16(unix.ETH_P_IP) // network byte order
	err := ns.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		// A redirected frame is charged a whole page.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: index})
	})
	t.Cleanup(func() { unix.Close(fd) })
	if err != nil {
		t.Fatal(err)
	}
	var total uint64
	return func() uint64 {
		for frame := make([]byte, 2048); ; total++ {
			if _, err := unix.Read(fd, frame); err != nil {
				return total
			}
		}
	}
}

// settle waits for a polling interface to work off its queue, and then for
// nothing more to come.
func settle(t *testing.T, what string, want uint64, read func() uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); read() < want && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	if got := read(); got != want {
		t.Errorf("%s: %d, want %d", what, got, want)
	}
}
