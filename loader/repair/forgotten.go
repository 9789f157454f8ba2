package repair

// This file finds a driver that no longer runs the program which the kernel reports
// attached. It links the program again on evidence only and ever more seldom, because
// some drivers open their NIC anew for each program that they are given.

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	firstRelink = 10 * time.Second
	maxRelink   = 10 * time.Minute
)

// sight is what is known of the frames of one interface.
type sight struct {
	last    loader.Traffic
	since   time.Time // when it was read
	missed  uint64    // frames that were received and not counted, of the latest evidence; 0 is none
	refused uint64    // and of them, by the backstop
	over    time.Duration
	relinks int
	next    time.Time // no relink before
	wait    time.Duration
	failed  error // of the last relink
}

// Look compares what had come in by each interface of o with what our program had counted of
// it, and links the program again where it counted nothing.
func (c *Checker) Look(o Observation) {
	maps.DeleteFunc(c.sights, func(name string, _ *sight) bool {
		return !slices.ContainsFunc(o.Interfaces, func(i Interface) bool { return i.Interface == name })
	})
	for _, i := range o.Interfaces {
		c.look(i, o.Time)
	}
}

// LookAtSetUp is Look for the interfaces with these indexes, which were set up anew: what was
// counted before that proves nothing of now. It reports whether there are any.
func (c *Checker) LookAtSetUp(o Observation, indexes map[int]bool) (looked bool) {
	for _, i := range o.Interfaces {
		if indexes[c.indexes[i.Interface]] {
			c.look(i, o.Time)
			looked = true
		}
	}
	return looked
}

func (c *Checker) look(i Interface, now time.Time) {
	if i.TrafficErr != nil {
		return // it is gone, which is another problem
	}
	s := c.sights[i.Interface]
	if s == nil {
		s = &sight{wait: firstRelink}
		c.sights[i.Interface] = s
	}
	ran, forgotten := s.see(i.Traffic, now)
	if ran && s.missed != 0 {
		// Somebody should know that the gate was open.
		c.repaired[i.Interface] = repaired{at: now, text: fmt.Sprintf(
			"the driver had forgotten our program, and %s unseen; it has run again since %s", policy.Count(int(s.missed), "frame came in", "frames came in"), now.UTC().Format(time.RFC3339))}
	}
	switch {
	case ran:
		s.missed, s.relinks, s.failed, s.wait = 0, 0, nil, firstRelink
	case forgotten:
		c.linkAgain(i.Interface, s, now)
	}
}

// see compares traffic, as it was at now, with what was seen before, and says what that proves.
func (s *sight) see(traffic loader.Traffic, now time.Time) (ran, forgotten bool) {
	ran, forgotten = traffic.Runs(s.last)
	if s.last.LinkID != traffic.LinkID {
		*s = sight{wait: firstRelink}
	}
	if forgotten {
		s.missed, s.refused, s.over = max(1, traffic.Received-s.last.Received), traffic.Refused-s.last.Refused, now.Sub(s.since)
	}
	s.last, s.since = traffic, now
	return ran, forgotten
}

// linkAgain gives the driver the program again, by an update: nothing is opened that was
// not open.
func (c *Checker) linkAgain(name string, s *sight, now time.Time) {
	if now.Before(s.next) {
		return
	}
	s.failed = c.gate.Relink(name)
	s.relinks++
	s.next, s.wait = now.Add(s.wait), min(2*s.wait, maxRelink)
	c.counts["driver"]++
	c.log.Error(fmt.Sprintf("%s: %s; it was linked again", name, s.evidence()), "repaired", "driver")
	// What came in until now came in unseen.
	if traffic, err := c.gate.Traffic(name); err == nil {
		s.last, s.since = traffic, now
	}
}

func (s *sight) evidence() string {
	text := policy.Count(int(s.missed), "frame was", "frames were") + " received in " + s.over.Round(time.Second).String()
	if s.refused > 0 {
		text += fmt.Sprintf(", of which the backstop refused %d,", s.refused)
	}
	return text + " and our program was given none: the driver has forgotten it"
}

// forgotten are the problems of interfaces whose driver does not run our program.
func (c *Checker) forgotten() (problems []api.Problem) {
	for name, s := range c.sights {
		if s.missed == 0 {
			continue
		}
		p := api.Problem{Code: "not_run", Subject: name, Text: s.evidence()}
		switch {
		case s.failed != nil:
			p.Text += fmt.Sprintf("; it could not be linked again: %v", s.failed)
		case s.relinks == 1:
			p.Text += "; it was linked again, and no frame has come in since"
		default:
			p.Text += fmt.Sprintf("; it was linked again %d times, in vain", s.relinks)
		}
		p.Text += ". To attach anew, which opens the gate for a moment:"
		p.Hint = c.command("detach --yes --interface "+name) + "; systemctl restart xdpallow"
		problems = append(problems, p)
	}
	return problems
}
