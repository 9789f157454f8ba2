// This file is part (b): what the softirq of a host under a flood spends on a packet.
// Generator and softirq share one CPU, so nothing is lost and no interrupt is sent.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// The speed of the machine changes within a second, and the kernel accounts time by what a timer
// finds running every few milliseconds. So a round floods every filter of a list many times and
// briefly, one after another, and adds up. The first two filters, with which all others are
// compared, cost least and are found running least: they are measured again beside each other one.
const (
	partLive   = "live"
	passes     = 4 // a round
	floodTime  = 150 * time.Millisecond
	tick       = 10 * time.Millisecond // USER_HZ, the unit of /proc/stat
	leastBatch = 1 << 12               // frames of a system call
)

var liveSizes = []int{15, 100_000, 1_000_000}

// contender is a filter at work in a lab of its own.
type contender struct {
	group, name string
	lab         *netlab.Lab
	flood       *flood
	remove      remove // nil when closing the lab is enough
	spent       spent  // in this round
}

// spent is what a flood cost.
type spent struct {
	ticks   uint64 // of softirq
	packets uint64 // that arrived
}

func live(rounds int) (s samples, err error) {
	var all [][]*contender // by list
	defer func() {
		for _, c := range slices.Concat(all...) {
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
		all = append(all, nil)
		for _, f := range filters {
			c, err := newContender(f, l, sources)
			all[len(all)-1] = append(all[len(all)-1], c)
			if err != nil {
				return nil, fmt.Errorf("%s, %d prefixes: %w", f.name, n, err)
			}
		}
		fmt.Fprintf(os.Stderr, "live: %d prefixes are loaded\n", n)
	}
	for round := range rounds {
		for _, contenders := range all {
			if err := compare(contenders); err != nil {
				return nil, err
			}
			for _, c := range contenders {
				s = append(s, sample{round, c.group, c.name, c.cost()})
			}
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
	c.flood, err = newFlood(c.lab, sources)
	return c, err
}

func (c *contender) close() (err error) {
	if c.remove != nil {
		err = c.remove()
	}
	return errors.Join(err, c.lab.Close())
}

// compare floods each in turn, and again, for one round.
func compare(contenders []*contender) error {
	for _, c := range contenders {
		c.spent = spent{}
	}
	for range passes {
		for _, other := range contenders[2:] {
			for _, c := range []*contender{contenders[0], contenders[1], other} {
				if err := c.measure(); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
		}
	}
	return nil
}

// cost is the ns of softirq for each packet that arrived in this round.
func (c *contender) cost() float64 {
	return float64(c.spent.ticks) * float64(tick) / float64(c.spent.packets)
}

// measure floods once. A shorter flood before it fills the caches, which the flood of another
// filter has emptied; a real flood does not begin six times a second.
func (c *contender) measure() error {
	const cpu = 0
	whole := c.flood.repeat
	c.flood.repeat = max(whole/3, leastBatch)
	if _, err := c.flood.run(cpu, 1); err != nil {
		return err
	}
	c.flood.repeat = whole
	ticks, err := softirqTicks(cpu)
	if err != nil {
		return err
	}
	segments, err := c.lab.Host.TCPInSegs()
	if err != nil {
		return err
	}
	before, err := c.lab.Host.Statistics("eth0")
	if err != nil {
		return err
	}
	rate, err := c.flood.run(cpu, floodTime)
	if err != nil {
		return err
	}
	after, err := c.lab.Host.Statistics("eth0")
	if err != nil {
		return err
	}
	end, err := softirqTicks(cpu)
	if err != nil {
		return err
	}
	passed, err := c.lab.Host.TCPInSegs()
	if err != nil {
		return err
	}
	if (passed > segments) != (c.name == noFilter.name) {
		return fmt.Errorf("%d segments reached TCP", passed-segments)
	}
	packets := after.RxPackets - before.RxPackets
	if packets == 0 {
		return errors.New("not one packet of the flood arrived")
	}
	c.spent.ticks += end - ticks
	c.spent.packets += packets
	c.flood.repeat = max(uint32(rate*1.2*floodTime.Seconds()), leastBatch) // one call, next time
	return nil
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
