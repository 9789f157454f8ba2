// Package repair holds the gate in the kernel to what is desired: Observe asks the kernel
// once, Diagnose says what of it is not as it should be, and a Checker puts right what
// somebody else changed. No repair opens the gate: programs come back by an update of their
// link, lists by a publish, and what is written in place was wrong before.
package repair

import (
	"errors"
	"fmt"
	"log/slog"
	gomaps "maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/maps"
)

// remembered is how long a repair stays a problem: somebody should look who did it.
const remembered = 10 * time.Minute

// Desired is what the gate should be in the kernel.
type Desired struct {
	desired.State
	Compiler *compile.Compiler // makes the kernel's entries of it
}

// Checker repairs a gate, and remembers what it found from one check to the next. One
// goroutine uses it at a time, and nobody changes the gate meanwhile.
type Checker struct {
	gate    *loader.Gate
	log     *slog.Logger
	command func(words string) string
	retired func([]maps.Entry)

	round    maps.Scan      // through the list
	begun    uint64         // generation as the round began
	checked  []netip.Prefix // by the last slice of the round
	indexes  map[string]int // of interfaces, as they were when we attached
	sights   map[string]*sight
	takings  map[string]taking
	counts   map[string]uint64
	repaired map[string]repaired
	failed   map[string]api.Problem // of the last check
}

// repaired is a repair of late.
type repaired struct {
	text string // of the problem line
	at   time.Time
}

// New returns the checker of gate. command makes an xdpallow command of words that reaches
// this daemon; retired is given the entries that a publish takes out of use, to keep what the
// kernel had counted for them.
func New(gate *loader.Gate, log *slog.Logger, command func(words string) string, retired func([]maps.Entry)) *Checker {
	return &Checker{
		gate: gate, log: log, command: command, retired: retired,
		indexes: map[string]int{}, sights: map[string]*sight{}, takings: map[string]taking{},
		counts: map[string]uint64{}, repaired: map[string]repaired{}, failed: map[string]api.Problem{},
	}
}

// Check puts right what is not as it should be, what opens the gate first, and returns what
// there is then: what it repaired it has looked at again.
func (c *Checker) Check(h Host, d Desired) Observation {
	clear(c.failed)
	before := c.repairs()
	c.part("current", h.Time, c.restoreCurrent)
	o := c.Observe(h, d)
	c.repair(h.Time, Diagnose(o, d), d)
	c.part("map", h.Time, c.restoreMaps)
	c.part("map", h.Time, func() (string, error) { return c.restoreOwners(d) })
	c.part("entry", h.Time, func() (string, error) { return c.restoreEntries(d) })
	c.part("prefilter", h.Time, func() (string, error) { return c.restorePrefilter(d) })
	c.restorePins(h.Time)
	c.Look(o)
	if c.repairs() != before {
		return c.Observe(h, d)
	}
	return o
}

// RepairPrograms puts right what o says of programs.
func (c *Checker) RepairPrograms(o Observation, d Desired) {
	c.repair(o.Time, slices.DeleteFunc(Diagnose(o, d), func(f Finding) bool { return f.Repair != "program" }), d)
}

// repair puts right those of findings that can be. One that fails does not keep it from the
// others.
func (c *Checker) repair(now time.Time, findings []Finding, d Desired) {
	for _, part := range []struct {
		what    string
		restore func(Finding) error
	}{
		{"services", func(Finding) error { return c.gate.Tables.RestorePolicy(policyOf(d)) }},
		{"program", func(f Finding) error { return c.gate.Relink(f.Name) }},
		{"backstop", func(Finding) error { return c.gate.RelinkBackstop() }},
	} {
		c.part(part.what, now, func() (string, error) {
			var found []string
			var errs []error
			for _, f := range findings {
				switch {
				case f.Repair != part.what:
				case f.Err != nil:
					errs = append(errs, f.Err)
				default:
					found, errs = append(found, f.Found), append(errs, part.restore(f))
				}
			}
			return strings.Join(found, ", "), errors.Join(errs...)
		})
	}
}

// part lets restore put one part right, and notes what it found.
func (c *Checker) part(what string, now time.Time, restore func() (found string, err error)) {
	found, err := restore()
	switch {
	case err != nil:
		c.failed[what] = api.Problem{
			Code: "not_repaired", Subject: what, Hint: "systemctl restart xdpallow",
			Text: strings.TrimPrefix(fmt.Sprintf("%s; it could not be put right: %v", found, err), "; "),
		}
	case found != "":
		c.Note(what, found, now)
	}
}

// Note says, and counts, that somebody else had changed something of the kind what, and
// that it was put right.
func (c *Checker) Note(what, found string, now time.Time) {
	c.counts[what]++
	text := fmt.Sprintf("somebody else changed the gate: %s; it was put right at %s", found, now.UTC().Format(time.RFC3339))
	c.repaired[what] = repaired{text, now}
	c.log.Error(fmt.Sprintf("somebody else changed the gate: %s; it was put right", found), "repaired", what)
}

// Counts are how often something was put right, by kind. The caller may keep them.
func (c *Checker) Counts() map[string]uint64 { return gomaps.Clone(c.counts) }

func (c *Checker) repairs() (n uint64) {
	for _, count := range c.counts {
		n += count
	}
	return n
}

// Problems are the repairs of late, those that failed, and what drivers do not do.
func (c *Checker) Problems(now time.Time) (problems []api.Problem) {
	for what, r := range c.repaired {
		if now.Sub(r.at) < remembered {
			problems = append(problems, api.Problem{Code: "repaired", Subject: what, Hint: "journalctl -u xdpallow", Text: r.text})
		}
	}
	problems = slices.AppendSeq(problems, gomaps.Values(c.failed))
	return append(append(problems, c.forgotten()...), c.refusals()...)
}

// Attached notes what came of attaching our program to an interface, and has the backstop
// count apart what it refuses of that which comes in by it.
func (c *Checker) Attached(name string, at loader.Attachment) error {
	c.indexes[name] = 0
	if device, err := net.InterfaceByName(name); err == nil {
		c.indexes[name] = device.Index
	}
	c.noteTaking(name, at)
	var indexes []int
	for _, name := range c.gate.Attached() {
		if index := c.indexes[name]; index != 0 {
			indexes = append(indexes, index)
		}
	}
	return c.gate.Tables.SetIngress(indexes)
}

// Index is which interface had the name when we attached to it, 0 when we did not.
func (c *Checker) Index(name string) int { return c.indexes[name] }

// Renamed moves what is known of interfaces to their new names, which renamed has by the old.
func (c *Checker) Renamed(renamed map[string]string) {
	rename(c.indexes, renamed)
	rename(c.sights, renamed)
	rename(c.takings, renamed)
}

func rename[V any](known map[string]V, renamed map[string]string) {
	moved := map[string]V{}
	for name, now := range renamed {
		if value, found := known[name]; found {
			moved[now] = value
			delete(known, name)
		}
	}
	gomaps.Copy(known, moved)
}
