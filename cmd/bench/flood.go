// This file is the attacker of parts (b) and (c): a SYN flood at millions a second.
package main

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/liveflood"
)

// flood sends from a lab's wire to its host.
type flood struct {
	*liveflood.Flood
	lab    *netlab.Lab
	repeat uint32 // frames of one system call
}

func newFlood(lab *netlab.Lab, sources []byte) (*flood, error) {
	made, err := liveflood.New(lab, port, sources)
	return &flood{made, lab, 1 << 17}, err
}

// arrived returns how many frames the host has had of the flood since it was made. Nothing
// else is sent so fast that the host's ring could have no room for it.
func (f *flood) arrived() (uint64, error) {
	sent, err := f.Sent()
	if err != nil {
		return 0, err
	}
	wire, err := f.lab.Wire.Statistics("eth0")
	return sent - wire.TxDropped, err
}

// run floods for a while, or a little longer, from this CPU and returns how many frames
// a second were sent.
func (f *flood) run(cpu int, duration time.Duration) (float64, error) {
	var before, after uint64
	start := time.Now()
	err := f.from(cpu, func() (err error) {
		if before, err = f.Sent(); err != nil {
			return err
		}
		for time.Since(start) < duration {
			if err := f.Send(f.repeat); err != nil {
				return err
			}
		}
		after, err = f.Sent()
		return err
	})
	return float64(after-before) / time.Since(start).Seconds(), err
}

// pulse sends a burst each period from this CPU while on is set, until over is. Like the interrupt
// of a NIC it runs before everything else on the CPU.
func (f *flood) pulse(cpu int, burst uint32, period time.Duration, on, over *atomic.Bool) error {
	return f.from(cpu, func() error {
		first := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if err := unix.SchedSetAttr(0, first, 0); err != nil {
			return err
		}
		for next := time.Now(); !over.Load(); next = next.Add(period) {
			if on.Load() {
				if err := f.Send(burst); err != nil {
					return err
				}
			}
			if wait := unix.NsecToTimespec(int64(time.Until(next.Add(period)))); wait.Nano() > 0 {
				unix.Nanosleep(&wait, nil) // interrupted: a burst comes early
			} else {
				next = time.Now() // a burst that is late is not made up for
			}
		}
		return nil
	})
}

// from runs what sends on this CPU, in the namespace of the wire.
func (f *flood) from(cpu int, send func() error) error {
	return f.lab.Wire.Do(func() error {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return err
		}
		return send()
	})
}
