package top

// This file is what seldom changes: interfaces, the backstop, services.

import (
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

type fact struct {
	text string
	tint tint
}

// facts shows a line for each subject where there is room, and a line for each kind where there
// is not.
func (m model) facts(place, turn int) section {
	status := m.shown.frame.Status
	groups := []struct {
		name, names string
		facts       []fact
	}{
		{"gate", "gate", gateFacts(status)},
		{"service", "services", serviceFacts(status.Services)},
	}
	s := section{place: place, turn: turn}
	for _, g := range groups {
		s.least += min(1, len(g.facts))
		s.rows += len(g.facts)
	}
	s.draw = func(width, rows int) (lines []string) {
		for _, g := range groups {
			var texts []string
			for _, f := range g.facts {
				lines = append(lines, m.paint.text(faint, pad(g.name, 8, false))+"  "+m.paint.text(f.tint, f.text))
				texts = append(texts, m.paint.text(f.tint, f.text))
			}
			if rows < s.rows && len(texts) > 0 {
				lines = append(lines[:len(lines)-len(texts)],
					m.paint.text(faint, pad(g.names, 8, false))+"  "+strings.Join(texts, "; "))
			}
		}
		for i := range lines {
			lines[i] = clip(lines[i], width)
		}
		return lines[:min(rows, len(lines))]
	}
	return s
}

// gateFacts says how interfaces and backstop are guarded. What is wrong comes first, so that a
// line that is clipped still shows it.
func gateFacts(status api.Status) (wrong []fact) {
	var right []fact
	for _, i := range status.Interfaces {
		name := policy.Printable(i.Name)
		switch {
		case !i.Attached:
			wrong = append(wrong, fact{name + " not attached", bad})
		case i.Reason != "":
			right = append(right, fact{name + " " + i.Attach + policy.Printable(" ("+i.Reason+")"), plain})
		default:
			right = append(right, fact{name + " " + i.Attach, plain})
		}
	}
	for _, name := range status.Uncovered {
		wrong = append(wrong, fact{policy.Printable(name) + " uncovered", warn})
	}
	switch b := status.Backstop; {
	case b == nil:
		right = append(right, fact{"backstop off", warn})
	case !b.Attached:
		wrong = append(wrong, fact{"backstop not attached", bad})
	default:
		right = append(right, fact{"backstop attached", plain})
	}
	return append(wrong, right...)
}

func serviceFacts(services []api.Service) (facts []fact) {
	for _, s := range services {
		words := []string{s.Name}
		for _, r := range policy.PortRanges(s.Ports) {
			words = append(words, r.String())
		}
		text := strings.Join(append(words, string(s.Mode)), " ") + ", drop " + string(s.Scope)
		if s.Until != nil {
			text += ", until " + s.Until.Format(time.RFC3339)
		}
		how := plain
		if s.Mode != policy.Enforce {
			how = warn
		}
		facts = append(facts, fact{policy.Printable(text), how})
	}
	return facts
}
