// This file is part (c): how much a flood slows a listed client down. One CPU runs the flood and
// its dropping, with the highest priority, the packets that are let in, and the server; the
// other runs the client. So no frame of the flood crosses CPUs, as with a NIC. Unlike with a
// NIC, the frames are also made on that CPU, which costs time.
//
// The client sends requests without a pause, and the flood is switched on and off many times a
// round: a machine is slower for seconds at a time, and both halves must see the same of it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

const (
	partClient = "client"
	clientRate = 500_000 // frames a second
	burst      = 1024    // of them at once
	workers    = 8
	phases     = 50 // of a round: without and with the flood, in turn
	phaseTime  = 100 * time.Millisecond
	warmUp     = 10 * time.Millisecond // at the begin of a phase; requests that end then do not count
	patience   = 50 * time.Millisecond // for a request; its SYN was probably lost

	clientCPU, serverCPU = 0, 1 // which is also the flood's queue
)

func client(rounds int) (s samples, err error) {
	const n = 100_000
	l := newList(n, false)
	var all []*contender
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.close())
		}
	}()
	for _, f := range []filter{bareDrop, ourFilter} {
		c, stop, err := newServed(f, l)
		if c != nil {
			all = append(all, c)
		}
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	for round := range rounds {
		for _, c := range all {
			off, on, arrived, err := underFlood(c.lab, c.flood, l.prefixes[:workers])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			s = append(s, sample{round, c.group, "kept: " + c.name, on.rate / off.rate},
				sample{round, c.group, "failures: " + c.name, float64(off.failures + on.failures)})
			if c.name != ourFilter.name {
				continue
			}
			for _, half := range []struct {
				name string
				answers
			}{{"no flood", off}, {"flood", on}} {
				s = append(s, sample{round, c.group, half.name + ": requests/s", half.rate},
					sample{round, c.group, half.name + ": p99 ms", half.p99})
			}
			s = append(s, sample{round, c.group, "flood: frames/s", arrived})
		}
		fmt.Fprintf(os.Stderr, "client: round %d of %d\n", round+1, rounds)
	}
	return s, nil
}

// newServed makes a lab with a filter, a server for listed clients, and a flood.
func newServed(f filter, l *list) (c *contender, stop func(), err error) {
	c = &contender{group: fmt.Sprint(l.n), name: f.name}
	if c.lab, err = newLab(l.prefixes[:workers]...); err != nil {
		return nil, nil, err
	}
	if err := receiveOn(c.lab, serverCPU); err != nil {
		return c, nil, err
	}
	if c.remove, err = f.install(c.lab, l); err != nil {
		return c, nil, err
	}
	if c.flood, err = newFlood(c.lab, l.sources(miss)); err != nil {
		return c, nil, err
	}
	stop, err = startServer(c.lab)
	return c, stop, err
}

// underFlood runs the client for a round while the flood is switched on and off. It returns what
// the client got without and with the flood, and how many frames a second arrived with it.
func underFlood(lab *netlab.Lab, f *flood, listed []netip.Prefix) (off, on answers, arrived float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return off, on, 0, err
	}
	args := []string{"taskset", "-c", fmt.Sprint(clientCPU), self, "client", fmt.Sprintf("%v:%d", lab.Link("eth0").Host4, port)}
	for _, p := range listed {
		args = append(args, p.Addr().String())
	}
	command := labtest.Command(context.Background(), lab.Wire, args...)
	command.Stderr = os.Stderr
	var out bytes.Buffer
	command.Stdout = &out
	ask, err := command.StdinPipe() // its end is that of the asking
	if err != nil {
		return off, on, 0, err
	}
	if err := command.Start(); err != nil {
		return off, on, 0, err
	}
	var flooding, over atomic.Bool
	flooded := make(chan error, 1)
	go func() { flooded <- f.pulse(serverCPU, burst, burst*time.Second/clientRate, &flooding, &over) }()
	time.Sleep(500 * time.Millisecond) // the client has begun
	var halves [2][]phase
	before, err := f.arrived()
	for i := range phases {
		flooding.Store(i%2 == 1)
		begin := time.Now()
		time.Sleep(phaseTime)
		halves[i%2] = append(halves[i%2], phase{begin, time.Now()})
	}
	over.Store(true)
	err = errors.Join(err, ask.Close(), command.Wait(), <-flooded)
	after, failed := f.arrived()
	if err := errors.Join(err, failed); err != nil {
		return off, on, 0, err
	}
	var requests []request
	if err := json.Unmarshal(out.Bytes(), &requests); err != nil {
		return off, on, 0, fmt.Errorf("read what the client got: %w", err)
	}
	if off = during(halves[0], requests); off.rate == 0 {
		return off, on, 0, fmt.Errorf("not one of %d requests was answered without a flood", len(requests))
	}
	return off, during(halves[1], requests), float64(after-before) / (phases / 2 * phaseTime).Seconds(), nil
}

// phase is a time with the flood, or without.
type phase struct{ begin, end time.Time }

// answers is what the client got in the phases of one kind.
type answers struct {
	rate     float64 // requests answered a second
	failures int     // requests without an answer; their SYNs were probably lost
	p99      float64 // ms, of those answered
}

func during(phases []phase, requests []request) (a answers) {
	var took []time.Duration
	var lasted time.Duration
	for _, s := range phases {
		s.begin = s.begin.Add(warmUp)
		lasted += s.end.Sub(s.begin)
		for _, r := range requests {
			switch {
			case r.Failed && !r.Begin.Before(s.begin) && r.Begin.Before(s.end):
				a.failures++
			case !r.Failed && !r.End.Before(s.begin) && r.End.Before(s.end):
				took = append(took, r.End.Sub(r.Begin))
			}
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		a.rate = float64(len(took)) / lasted.Seconds()
		a.p99 = took[len(took)*99/100].Seconds() * 1000
	}
	return a
}

func startServer(lab *netlab.Lab) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := labtest.Command(context.Background(), lab.Host, "taskset", "-c", fmt.Sprint(serverCPU), self, "server", fmt.Sprintf(":%d", port))
	command.Env = append(os.Environ(), "GOMAXPROCS=1")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, err
	}
	time.Sleep(300 * time.Millisecond)
	return func() { command.Process.Kill(); command.Wait() }, nil
}

// receiveOn lets a CPU receive what the host lets in. The interface gets two queues, as a
// NIC has. A veth puts what XDP sends into the queue with the number of the sender's CPU,
// which is the flood, and what a socket sends into the first, as long as its peer has one to
// send on. That one is polled by the CPU that sent, and what passes is handed to this one.
// It goes before a filter: on 6.18 an XDP program does not run on a queue added later.
func receiveOn(lab *netlab.Lab, cpu int) error {
	if err := lab.Host.SetQueues("eth0", 2, 1); err != nil {
		return err
	}
	return run(lab, "", "unshare", "--mount", "sh", "-c", fmt.Sprintf("mount -t sysfs sysfs /sys && echo %x >/sys/class/net/eth0/queues/rx-0/rps_cpus", 1<<cpu))
}
