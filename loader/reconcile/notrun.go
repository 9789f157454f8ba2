package reconcile

// This file finds a driver that no longer runs the program which the kernel reports
// attached. It links the program again on evidence only and ever more seldom, because
// some drivers open their NIC anew for each program that they are given.

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	firstRelink = probeEvery
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

// look compares what came in by each interface with what our program counted of it, and
// links the program again where it counted nothing.
func (e *Engine) look() {
	attached := e.view.gate.Attached()
	maps.DeleteFunc(e.sights, func(name string, _ *sight) bool { return !slices.Contains(attached, name) })
	for _, name := range attached {
		e.lookAt(name)
	}
}

// lookAt is look for one interface. It is called by each probe, and as soon as the
// interface was set up anew: what was counted before that proves nothing of now.
func (e *Engine) lookAt(name string) {
	now, err := e.view.gate.Traffic(name)
	if err != nil {
		return // it is gone, which is another problem
	}
	s := e.sights[name]
	if s == nil {
		s = &sight{wait: firstRelink}
		e.sights[name] = s
	}
	ran, forgotten := now.Runs(s.last)
	if s.last.LinkID != now.LinkID {
		*s = sight{wait: firstRelink}
	}
	missed, refused, over := max(1, now.Received-s.last.Received), now.Refused-s.last.Refused, time.Since(s.since)
	s.last, s.since = now, time.Now()
	switch {
	case ran:
		e.runsAgain(name, s)
	case forgotten:
		s.missed, s.refused, s.over = missed, refused, over
		e.linkAgain(name, s)
	}
}

// runsAgain ends the problem; somebody should know that the gate was open.
func (e *Engine) runsAgain(name string, s *sight) {
	if s.missed != 0 {
		e.drift.repaired[name] = repair{at: time.Now(), text: fmt.Sprintf(
			"the driver had forgotten our program, and %s unseen; it has run again since %s", policy.Count(int(s.missed), "frame came in", "frames came in"), time.Now().UTC().Format(time.RFC3339))}
	}
	s.missed, s.relinks, s.failed, s.wait = 0, 0, nil, firstRelink
}

// linkAgain gives the driver the program again, by an update: nothing is opened that was
// not open.
func (e *Engine) linkAgain(name string, s *sight) {
	if time.Now().Before(s.next) {
		return
	}
	s.failed = e.view.gate.Relink(name)
	s.relinks++
	s.next, s.wait = time.Now().Add(s.wait), min(2*s.wait, maxRelink)
	e.drift.counts["driver"]++
	e.options.Log.Error(fmt.Sprintf("%s: %s; it was linked again", name, s.evidence()), "repaired", "driver")
	// What came in until now came in unseen.
	if now, err := e.view.gate.Traffic(name); err == nil {
		s.last, s.since = now, time.Now()
	}
}

func (s *sight) evidence() string {
	text := policy.Count(int(s.missed), "frame was", "frames were") + " received in " + s.over.Round(time.Second).String()
	if s.refused > 0 {
		text += fmt.Sprintf(", of which the backstop refused %d,", s.refused)
	}
	return text + " and our program was given none: the driver has forgotten it"
}

// notRun are the problems of interfaces whose driver does not run our program.
func (e *Engine) notRun() (problems []Problem) {
	for name, s := range e.sights {
		if s.missed == 0 {
			continue
		}
		p := Problem{Code: "not_run", Subject: name, Text: s.evidence()}
		switch {
		case s.failed != nil:
			p.Text += fmt.Sprintf("; it could not be linked again: %v", s.failed)
		case s.relinks == 1:
			p.Text += "; it was linked again, and no frame has come in since"
		default:
			p.Text += fmt.Sprintf("; it was linked again %d times, in vain", s.relinks)
		}
		p.Text += ". To attach anew, which opens the gate for a moment:"
		p.Hint = e.command("detach --yes --interface "+name) + "; systemctl restart xdpallow"
		problems = append(problems, p)
	}
	return problems
}

// command is an xdpallow command that reaches this daemon.
func (e *Engine) command(words string) string { return "xdpallow " + words + e.options.HintFlags }

// setUp looks at the interfaces with these indexes, which were set up anew.
func (e *Engine) setUp(indexes map[int]bool) {
	looked := false
	for _, name := range e.view.gate.Attached() {
		if indexes[e.drift.indexes[name]] {
			e.lookAt(name)
			looked = true
		}
	}
	if looked {
		e.judge()
	}
}
