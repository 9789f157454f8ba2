// This file is part (c): what a listed client notices of a flood. One CPU has the server,
// the kernel thread that polls the host's interface and, before both, the flood; the other
// has the client. So frames cross no CPUs but the client's, as those of a NIC would not;
// that they are made there too is a cost that a NIC's do not have.
//
// The client asks without a pause, and the flood goes on and off several times a round:
// the machine's moods last for seconds, and both halves shall see the same.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

const (
	partClient = "client"
	clientRate = 500_000 // frames a second
	burst      = 1024    // of them at once
	workers    = 8
	spells     = 10 // of a round, off and on in turn
	spellTime  = 500 * time.Millisecond
	settling   = 50 * time.Millisecond // at the begin of a spell; what ends then is left out
	patience   = settling              // with a request: who waits longer is stuck into the next spell

	clientCPU, serverCPU = 0, 1
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
			off, on, sent, err := underFlood(c.lab, c.flood, l.prefixes[:workers])
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
			s = append(s, sample{round, c.group, "flood: frames/s sent", sent})
		}
		fmt.Fprintf(os.Stderr, "client: round %d of %d\n", round+1, rounds)
	}
	return s, nil
}

// newServed makes a lab with a filter and a server that listed clients may ask, and with
// a flood.
func newServed(f filter, l *list) (c *contender, stop func(), err error) {
	c = &contender{group: fmt.Sprint(l.n), name: f.name}
	if c.lab, err = newLab(l.prefixes[:workers]...); err != nil {
		return nil, nil, err
	}
	if c.remove, err = f.install(c.lab, l); err != nil {
		return c, nil, err
	}
	if err := pollOn(c.lab, serverCPU); err != nil {
		return c, nil, err
	}
	if c.flood, err = newFlood(c.lab, l.sources(miss)); err != nil {
		return c, nil, err
	}
	stop, err = startServer(c.lab)
	return c, stop, err
}

// underFlood lets the client run for a round while the flood goes on and off. It returns
// what the client got in either half, and how many frames a second were sent while it was on.
func underFlood(lab *netlab.Lab, f *flood, listed []netip.Prefix) (off, on answers, sent float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return off, on, 0, err
	}
	args := []string{"taskset", "-c", fmt.Sprint(clientCPU), self, "client", fmt.Sprintf("%v:%d", lab.Link("eth0").Host4, port)}
	for _, p := range listed {
		args = append(args, p.Addr().String())
	}
	command := lab.Wire.Command(context.Background(), args...)
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
	time.Sleep(spellTime) // the client has begun
	var halves [2][]spell
	var before, after uint64
	err = f.sent.Get(&before)
	for i := range spells {
		flooding.Store(i%2 == 1)
		begin := time.Now()
		time.Sleep(spellTime)
		halves[i%2] = append(halves[i%2], spell{begin, time.Now()})
	}
	over.Store(true)
	err = errors.Join(err, ask.Close(), command.Wait(), <-flooded, f.sent.Get(&after))
	if err != nil {
		return off, on, 0, err
	}
	var requests []request
	if err := json.Unmarshal(out.Bytes(), &requests); err != nil {
		return off, on, 0, fmt.Errorf("read what the client got: %w", err)
	}
	return during(halves[0], requests), during(halves[1], requests), float64(after-before) / (spells / 2 * spellTime).Seconds(), nil
}

// spell is a time of flood, or of none.
type spell struct{ begin, end time.Time }

// answers is what the client got in one half of a round.
type answers struct {
	rate     float64 // requests answered a second
	failures int     // of SYNs that were lost, most likely
	p99      float64 // ms, of those answered
}

func during(spells []spell, requests []request) (a answers) {
	var took []time.Duration
	var lasted time.Duration
	for _, s := range spells {
		s.begin = s.begin.Add(settling)
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
	command := lab.Host.Command(context.Background(), "taskset", "-c", fmt.Sprint(serverCPU), self, "server", fmt.Sprintf(":%d", port))
	command.Env = append(os.Environ(), "GOMAXPROCS=1")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, err
	}
	time.Sleep(300 * time.Millisecond)
	return func() { command.Process.Kill(); command.Wait() }, nil
}

// pollOn lets a kernel thread on that CPU do the work of the host's interface.
func pollOn(lab *netlab.Lab, cpu int) error {
	before := pollers()
	if err := run(lab, "", "unshare", "--mount", "sh", "-c", "mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/eth0/threaded"); err != nil {
		return err
	}
	found := false
	for pid := range pollers() {
		if before[pid] {
			continue
		}
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(pid, &set); err != nil {
			return fmt.Errorf("move the polling thread: %w", err)
		}
		// A NIC's softirq preempts whatever runs on its CPU, and so must this; the flood too,
		// or its frames would find the ring full.
		if err := goAhead(pid, 2); err != nil {
			return fmt.Errorf("put the polling thread ahead: %w", err)
		}
		found = true
	}
	if !found {
		return errors.New("the kernel made no polling thread for eth0")
	}
	return nil
}

// pollers are the kernel threads that poll an eth0.
func pollers() map[int]bool {
	found := map[int]bool{}
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(comm), "napi/eth0-") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			found[pid] = true
		}
	}
	return found
}
