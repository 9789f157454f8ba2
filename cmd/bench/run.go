// This file times a program: a test run in the kernel, each packet with a source of its
// own.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	programs "github.com/xdpallow/xdpallow/bpf/bench"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// traffic is a frame, and the table of sources that it gets one after another.
type traffic struct {
	frame   []byte
	ipv6    bool
	sources *ebpf.Map
}

func newTraffic(ipv6 bool, table []byte, flags uint8) (*traffic, error) {
	source := netip.IPv4Unspecified()
	if ipv6 {
		source = netip.IPv6Unspecified()
	}
	frame := mapstest.Opening(source, port)
	frame.Flags = flags
	spec, err := programs.LoadDriver()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["sources"].Set(table); err != nil {
		return nil, err
	}
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("make a table of sources: %w", err)
	}
	defer all.Close()
	return &traffic{frame.Bytes(), ipv6, all.DetachMap(".bss")}, nil
}

// driven is a program under test behind the one that sets the source.
type driven struct {
	driver  *ebpf.Program
	next    *ebpf.Map // empties itself when the last handle is closed
	traffic *traffic
	want    uint32 // its XDP action for all of the traffic
}

func (t *traffic) drive(tested *ebpf.Program, want uint32) (*driven, error) {
	spec, err := programs.LoadDriver()
	if err != nil {
		return nil, err
	}
	next, err := ebpf.NewMap(spec.Maps["tested"])
	if err != nil {
		return nil, err
	}
	name := "ipv4"
	if t.ipv6 {
		name = "ipv6"
	}
	driver, err := loadOne(spec, name, map[string]*ebpf.Map{".bss": t.sources, "tested": next})
	if err != nil {
		return nil, err
	}
	if err := next.Put(uint32(0), tested); err != nil {
		return nil, fmt.Errorf("put %v behind the driver: %w", tested, err)
	}
	return &driven{driver, next, t, want}, nil
}

// time returns the ns that a packet takes.
func (d *driven) time(repeat int) (float64, error) {
	before := threadTime()
	action, each, err := d.driver.Benchmark(d.traffic.frame, repeat, nil)
	took := threadTime() - before
	if err != nil {
		return 0, fmt.Errorf("run %v: %w", d.driver, err)
	}
	if action != d.want {
		return 0, fmt.Errorf("%v returned %d, not %d: this is not what was to be measured", d.driver, action, d.want)
	}
	// The kernel cuts the fraction of a nanosecond off; the thread's own time over the
	// call has it, and little else.
	whole := float64(each)
	return min(max(float64(took)/float64(repeat), whole), whole+1), nil
}

// ofThread is time by what this thread ran. The kernel's own figure counts what it waited
// for the CPU, and cuts off what a comparison is about.
func (d *driven) ofThread(repeat int) (float64, error) {
	before := threadTime()
	_, err := d.time(repeat)
	return float64(threadTime()-before) / float64(repeat), err
}

// threadTime is how long this thread has run; the caller is locked to it.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has it
	}
	return time.Duration(t.Nano())
}

// ahead gives the calling thread the highest priority.
func ahead() error {
	return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, -20))
}
