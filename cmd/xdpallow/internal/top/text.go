package top

// This file makes numbers and times short enough for a column, and what others
// wrote safe for a terminal.

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// human is n with three digits and a unit: 0, 0.3, 42, 999, 1.20k, 12.3k, 123M.
func human(n float64) string {
	switch {
	case math.IsNaN(n):
		return "-"
	case n == 0:
		return "0"
	case n < 0.05:
		return "<0.1"
	case n < 9.95:
		return fmt.Sprintf("%.1f", n)
	case n < 999.5:
		return fmt.Sprintf("%.0f", n)
	}
	for _, unit := range []string{"k", "M", "G", "T", "P", "E"} {
		n /= 1000
		switch {
		case n < 9.995:
			return fmt.Sprintf("%.2f%s", n, unit)
		case n < 99.95:
			return fmt.Sprintf("%.1f%s", n, unit)
		case n < 999.5:
			return fmt.Sprintf("%.0f%s", n, unit)
		}
	}
	return "much"
}

// whole is human for what is counted one by one: 3 and not 3.0.
func whole(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return human(float64(n))
}

// perSecond is a rate; unit is "" or what is counted.
func perSecond(rate float64, unit string) string {
	if math.IsNaN(rate) {
		return "-"
	}
	return human(rate) + unit + "/s"
}

// percent is a share from 0 to 1.
func percent(share float64) string {
	if share > 0 && share < 0.0005 {
		return "<0.1%"
	}
	return fmt.Sprintf("%.1f%%", 100*share)
}

// short is a duration in its largest unit, rounded down: 3s, 5m, 2h, 4d.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, d)/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// clip is s in at most width cells of the terminal. s may hold colours.
func clip(s string, width int) string {
	if width <= 0 {
		return ""
	}
	return ansi.Truncate(s, width, "…")
}

// pad is s in exactly width cells, blanks before it if right.
func pad(s string, width int, right bool) string {
	s = clip(s, width)
	blanks := strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
	if right {
		return blanks + s
	}
	return s + blanks
}
