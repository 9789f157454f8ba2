// This file is part (c): what a listed client notices of a flood. The server, and the
// kernel thread that polls the host's interface, have one CPU; flood and client have
// the other. Without flood the generator runs too and sends nothing, so that the client
// has the same share of its CPU.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

const (
	partClient = "client"
	clientRate = 500_000
	clientTime = 2500 * time.Millisecond
	workers    = 8
	lead       = 500 * time.Millisecond // the flood begins before the client, and ends after it

	floodCPU, serverCPU = "0", "1"
)

func client(rounds int) (s samples, err error) {
	const n = 100_000
	l := newList(n, false)
	lab, err := newLab(l.prefixes[:workers]...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	remove, err := ourFilter.install(lab, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := pollOn(lab, 1); err != nil {
		return nil, err
	}
	stop, err := startServer(lab)
	if err != nil {
		return nil, err
	}
	defer stop()
	sources := l.sources(miss)
	for round := range rounds {
		for _, offered := range []struct {
			name string
			rate int
		}{{"no flood", 1}, {"flood", clientRate}} {
			f, err := newFlood(lab, sources, offered.rate)
			if err != nil {
				return nil, err
			}
			answer, sent, err := underFlood(lab, f, l.prefixes[:workers])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", offered.name, err)
			}
			group := fmt.Sprint(n)
			s = append(s, sample{round, group, offered.name + ": requests/s", answer.Rate},
				sample{round, group, offered.name + ": failures", float64(answer.Failures)},
				sample{round, group, offered.name + ": p99 ms", answer.P99},
				sample{round, group, offered.name + ": frames/s sent", sent})
		}
		fmt.Fprintf(os.Stderr, "client: round %d of %d\n", round+1, rounds)
	}
	return s, nil
}

// underFlood lets the client run while the flood does.
func underFlood(lab *netlab.Lab, f *flood, listed []netip.Prefix) (a answers, sent float64, err error) {
	defer f.program.Close()
	flooded := make(chan error, 1)
	go func() {
		var err error
		sent, err = f.run(0, clientTime+lead)
		flooded <- err
	}()
	time.Sleep(200 * time.Millisecond)
	self, err := os.Executable()
	if err != nil {
		return a, 0, errors.Join(err, <-flooded)
	}
	args := []string{"taskset", "-c", floodCPU, self, "client", fmt.Sprintf("%v:%d", lab.Link("eth0").Host4, port)}
	for _, p := range listed {
		args = append(args, p.Addr().String())
	}
	command := lab.Wire.Command(context.Background(), args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err = errors.Join(err, <-flooded); err != nil {
		return a, sent, err
	}
	return a, sent, json.Unmarshal(out, &a)
}

func startServer(lab *netlab.Lab) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := lab.Host.Command(context.Background(), "taskset", "-c", serverCPU, self, "server", fmt.Sprintf(":%d", port))
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
		// A NIC's softirq preempts whatever runs on its CPU, and so must this.
		if err := unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0); err != nil {
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
