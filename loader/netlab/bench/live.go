// This file is part (b): what the softirq of a host under a flood spends on a packet.
// Generator and softirq share one CPU, so nothing is lost and no interrupt is sent.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

const (
	partLive  = "live"
	floodTime = 700 * time.Millisecond
	tick      = 10 * time.Millisecond // USER_HZ, the unit of /proc/stat
)

var liveSizes = []int{15, 100_000, 1_000_000}

// contender is a filter at work in a lab of its own.
type contender struct {
	group, name string
	lab         *netlab.Lab
	flood       *flood
	remove      remove // nil where that goes with the lab
}

func live(rounds int) (s samples, err error) {
	var all []*contender
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.close())
		}
	}()
	for _, n := range liveSizes {
		l := newList(n, false)
		sources := l.sources(miss)
		filters := []filter{emptyDrop, ourFilter, nftNetdev, nftInet, ipsetRaw}
		if n == sizes[0] {
			filters = append(filters, xdpFilter, noFilter)
		}
		for _, f := range filters {
			c, err := newContender(f, l, sources)
			all = append(all, c)
			if err != nil {
				return nil, fmt.Errorf("%s, %d prefixes: %w", f.name, n, err)
			}
		}
		fmt.Fprintf(os.Stderr, "live: %d prefixes are loaded\n", n)
	}
	for round := range rounds {
		for _, c := range all {
			ns, err := c.measure()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			s = append(s, sample{round, c.group, c.name, ns})
		}
		fmt.Fprintf(os.Stderr, "live: round %d of %d\n", round+1, rounds)
	}
	return s, nil
}

func newContender(f filter, l *list, sources []byte) (c *contender, err error) {
	c = &contender{group: fmt.Sprint(l.n), name: f.name}
	if c.lab, err = newLab(); err != nil {
		return c, err
	}
	if c.remove, err = f.install(c.lab, l); err != nil {
		return c, err
	}
	if _, err = c.lab.Host.Listen("tcp4", fmt.Sprintf(":%d", port)); err != nil {
		return c, err
	}
	c.flood, err = newFlood(c.lab, sources, 0)
	return c, err
}

func (c *contender) close() (err error) {
	if c.remove != nil {
		err = c.remove()
	}
	return errors.Join(err, c.lab.Close())
}

// measure floods and returns the ns of softirq for each packet that arrived.
func (c *contender) measure() (float64, error) {
	const cpu = 0
	ticks, err := softirqTicks(cpu)
	if err != nil {
		return 0, err
	}
	segments, err := c.lab.Host.TCPInSegs()
	if err != nil {
		return 0, err
	}
	before, err := c.lab.Host.Statistics("eth0")
	if err != nil {
		return 0, err
	}
	if _, err := c.flood.run(cpu, floodTime); err != nil {
		return 0, err
	}
	after, err := c.lab.Host.Statistics("eth0")
	if err != nil {
		return 0, err
	}
	end, err := softirqTicks(cpu)
	if err != nil {
		return 0, err
	}
	passed, err := c.lab.Host.TCPInSegs()
	if err != nil {
		return 0, err
	}
	if (passed > segments) != (c.name == noFilter.name) {
		return 0, fmt.Errorf("%d segments reached TCP", passed-segments)
	}
	packets := after.RxPackets - before.RxPackets
	if packets == 0 {
		return 0, errors.New("not one packet of the flood arrived")
	}
	return float64(end-ticks) * float64(tick) / float64(packets), nil
}

// softirqTicks is what /proc/stat says of a CPU.
func softirqTicks(cpu int) (ticks uint64, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("cpu%d ", cpu)
	for line := range strings.Lines(string(b)) {
		if rest, found := strings.CutPrefix(line, name); found {
			var user, nice, system, idle, wait, irq uint64
			_, err := fmt.Sscan(rest, &user, &nice, &system, &idle, &wait, &irq, &ticks)
			return ticks, err
		}
	}
	return 0, fmt.Errorf("/proc/stat has no CPU %d", cpu)
}
