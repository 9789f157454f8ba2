package top

// This file is colour: always beside a word that says the same, so that nothing
// is lost without it.

import (
	"charm.land/lipgloss/v2"
)

// paint gives text its colour, of the sixteen that the terminal's owner chose.
type paint struct{ off bool }

type tint int

const (
	plain  tint = iota
	faint       // headings, what matters less
	strong      // names
	good        // passed, enforcing
	bad         // dropped, problems
	warn        // audit, near misses, customers who are dropped
)

var styles = map[tint]lipgloss.Style{
	faint:  lipgloss.NewStyle().Faint(true),
	strong: lipgloss.NewStyle().Bold(true),
	good:   lipgloss.NewStyle().Foreground(lipgloss.Green),
	bad:    lipgloss.NewStyle().Foreground(lipgloss.Red),
	warn:   lipgloss.NewStyle().Foreground(lipgloss.Yellow),
}

func (p paint) text(t tint, s string) string {
	if p.off || t == plain || s == "" {
		return s
	}
	return styles[t].Render(s)
}

// ofVerdict is the tint of a verdict.
func ofVerdict(verdict string) tint {
	switch verdict {
	case "drop":
		return bad
	case "audit":
		return warn
	}
	return good
}
