// This file measures what somebody waits for who types a command, beside ipset and nft, which
// are given the same prefixes.
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/maps"
)

const (
	partUser    = "user"
	partMillion = "user1m"

	fewPrefixes   = 1000 // the list that a long one is compared with
	stoppedOwner  = "stopped"
	stoppedLength = 200 // prefixes of the owner that is suspended
	otherOwners   = 400 // of a list, however long
	askers        = 8   // who ask for a list and read nothing
)

// user measures with a list of n prefixes, and with a short one.
func user(n int) func(rounds int) (samples, error) {
	return func(rounds int) (s samples, err error) {
		for round := range rounds {
			u := &typing{list: newList(n, false), round: round}
			for _, step := range []func() error{u.peers, u.kernel, u.short, u.long} {
				if err := step(); err != nil {
					return nil, err
				}
			}
			s = append(s, u.samples...)
			fmt.Fprintf(os.Stderr, "user, %d prefixes: round %d of %d\n", n, round+1, rounds)
		}
		return s, nil
	}
}

// typing is one round.
type typing struct {
	list    *list
	round   int
	samples samples
}

func (u *typing) note(cell string, value float64) {
	u.samples = append(u.samples, sample{u.round, fmt.Sprint(u.list.n), cell, value})
}

// step is one thing that is timed.
type step struct {
	cell string // "" is not kept
	run  func() (time.Duration, error)
	many bool // it takes milliseconds: the median of several counts
}

const several = 5

func (one step) time() (time.Duration, error) {
	if !one.many {
		return one.run()
	}
	var all []float64
	for range several {
		took, err := one.run()
		if err != nil {
			return 0, err
		}
		all = append(all, float64(took))
	}
	middle, _ := median(all)
	return time.Duration(middle), nil
}

func (u *typing) all(steps []step) error {
	for _, one := range steps {
		took, err := one.time()
		if err != nil {
			return fmt.Errorf("%s: %w", one.cell, err)
		}
		if one.cell != "" {
			u.note(one.cell, took.Seconds())
		}
	}
	return nil
}

// peers times what Linux has.
func (u *typing) peers() error {
	lab, err := netlab.New("bench")
	if err != nil {
		return err
	}
	command := func(stdin string, argv ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return timed(lab, stdin, argv...) }
	}
	var restore, elements strings.Builder
	fmt.Fprintf(&restore, "create listed hash:net maxelem %d hashsize %d\n", 2*u.list.n+1024, max(1024, u.list.n))
	elements.WriteString("add element inet bench listed {")
	for _, p := range u.list.prefixes {
		fmt.Fprintf(&restore, "add listed %v\n", p)
		fmt.Fprintf(&elements, "%v,\n", p)
	}
	elements.WriteString("}\n")
	err = u.all([]step{
		{cell: "ipset restore", run: command(restore.String(), "ipset", "restore")},
		{cell: "ipset list", run: command("", "ipset", "list", "listed")},
		{cell: "", run: command("table inet bench {\nset listed {\ntype ipv4_addr\nflags interval\nauto-merge\n}\n}\n", "nft", "-f", "-")},
		{cell: "nft add element", run: command(elements.String(), "nft", "-f", "-")},
		{cell: "nft list", run: command("", "nft", "list", "set", "inet", "bench", "listed")},
	})
	return errors.Join(err, lab.Close())
}

// kernel times what the kernel alone takes for the list.
func (u *typing) kernel() error {
	tables, err := maps.OpenTables(noPins{})
	if err != nil {
		return err
	}
	defer tables.Close()
	want := policy(1, u.list)
	return u.all([]step{
		{cell: "publish", run: func() (time.Duration, error) {
			begin := time.Now()
			_, err := tables.Publish(want)
			return time.Since(begin), err
		}},
		{cell: "batch read", run: func() (time.Duration, error) {
			var scan maps.Scan
			begin := time.Now()
			for complete := false; !complete; {
				var err error
				if _, complete, err = tables.Next(&scan, 1<<16); err != nil {
					return 0, err
				}
			}
			return time.Since(begin), nil
		}},
	})
}

// short times what must not depend on the length of the list.
func (u *typing) short() error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	few := newList(fewPrefixes, false)
	_, err = w.start()
	if err == nil {
		_, err = w.feed(listText(few, 0), "replace", "-")
	}
	if err == nil {
		err = u.all(w.edits(" into 1k"))
	}
	return errors.Join(err, w.close())
}

func (u *typing) long() (err error) {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if _, err := w.start(); err != nil {
		return err
	}
	each := func(bytes uint64) float64 { return float64(bytes) / float64(u.list.n) }
	if err := u.all([]step{{cell: "first load", run: func() (time.Duration, error) { return w.feed(listText(u.list, 0), "replace", "-") }}}); err != nil {
		return err
	}
	u.note("first load: peak bytes an entry", each(w.memory.most.Load()))
	if u.round == 0 { // it takes minutes, and is hardly another one in the next round
		u.note("settled bytes an entry", each(w.memory.settled()))
	}
	w.memory.begin()
	if err := u.all([]step{{cell: "replace 1 %", run: func() (time.Duration, error) { return w.feed(listText(u.list, 100), "replace", "-") }}}); err != nil {
		return err
	}
	u.note("replace: peak bytes an entry", each(w.memory.most.Load()))
	kept, err := w.unread(askers)
	if err != nil {
		return err
	}
	u.note("readers: bytes an entry", each(kept))
	if err := u.all(append(w.questions(), w.edits("")...)); err != nil {
		return err
	}
	return u.all([]step{
		{cell: "", run: func() (time.Duration, error) { return 0, w.stop() }},
		{cell: "start over pins", run: w.start},
		{cell: "", run: func() (time.Duration, error) { return 0, w.stop() }},
		{cell: "", run: func() (time.Duration, error) { return w.do("detach", "--yes") }},
		{cell: "start from the store", run: w.start},
	})
}

// questions are what is asked about a long list.
func (w *world) questions() []step {
	command := func(args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return w.do(args...) }
	}
	return []step{
		{cell: "version", run: command("version"), many: true},
		{cell: "list -o text", run: command("list", "-o", "text")},
		{cell: "list", run: command("list")},
		{cell: "list -o json", run: command("list", "-o", "json")},
		{cell: "list --expiring", run: command("list", "--expiring", "14d"), many: true},
		{cell: "list --owner", run: command("list", "--owner", "nobody-has-this-name"), many: true},
		{cell: "list --unused", run: command("list", "--unused", "90d")},
		{cell: "list --unused, all", run: command("list", "--unused", "1s", "-o", "text")},
		{cell: "tab", run: command("completion", "complete", "--", "remove", "--socket", w.file("socket"), "203.0."), many: true},
	}
}

// edits are what is asked and changed about lists of two lengths.
func (w *world) edits(suffix string) (steps []step) {
	command := func(args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return w.do(args...) }
	}
	var many strings.Builder
	for i := range 10_000 { // 10.0.0.0/8 is in no list
		fmt.Fprintf(&many, "10.2.%d.%d\n", i>>8, i&0xff)
	}
	for _, one := range []step{
		{cell: "status", run: command("status"), many: true},
		{cell: "scrape", run: w.scrape, many: true},
		{cell: "add one", run: command("add", "10.1.0.1")},
		{cell: "suspend", run: command("suspend", stoppedOwner)},
		{cell: "", run: command("resume", stoppedOwner)},
		{cell: "mode audit", run: command("mode", "audit", "--for", "15m")},
		{cell: "", run: command("mode", "enforce")},
		{cell: "add 10,000", run: func() (time.Duration, error) { return w.feed(many.String(), "add", "-") }},
		{cell: "rollback of 10,000", run: command("rollback", "--force-shrink")},
	} {
		if one.cell != "" {
			one.cell += suffix
		}
		steps = append(steps, one)
	}
	return steps
}

// listText is l as a list with owners. With every > 0 each such prefix is another one.
func listText(l *list, every int) string {
	var b strings.Builder
	for i, p := range l.prefixes {
		owner := fmt.Sprintf("o%d", i%otherOwners)
		if i < stoppedLength {
			owner = stoppedOwner
		} else if every > 0 && i%every == 0 {
			p = netip.PrefixFrom(addr4(10<<24|3<<20|uint32(i)), 32)
		}
		fmt.Fprintf(&b, "%v owner=%s\n", p, owner)
	}
	return b.String()
}
