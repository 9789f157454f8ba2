package top

// This file lays the view out: what is wrong first, then rates, and what is left
// of the height goes round. No line is wider and no view higher than the terminal.

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	wide    = 140 // columns from which there are two of them
	between = 3
	clock   = "15:04:05"
)

// View implements tea.Model.
func (m model) View() tea.View {
	view := tea.NewView(strings.Join(m.lines(), "\n"))
	view.AltScreen = true
	return view
}

func (m model) lines() []string {
	if m.width <= 0 || m.height <= 0 {
		return nil // the size is not known yet
	}
	lines := m.head()
	foot := m.foot(0)
	if room := m.height - len(lines) - len(foot); m.shown != nil && room > 0 {
		body, hidden := m.body(room)
		foot = m.foot(hidden)
		lines = append(lines, body...)
		lines = append(lines, make([]string, max(0, room-len(body)))...)
	}
	lines = append(lines, foot...)
	lines = lines[:min(len(lines), m.height)]
	for i := range lines {
		lines[i] = clip(lines[i], m.width)
	}
	return lines
}

// head says whether the gate holds, and what is wrong.
func (m model) head() []string {
	lines := []string{m.title()}
	if m.failing != nil {
		lines = append(lines, m.paint.text(bad, clip(m.silence(), m.width)))
	}
	if m.shown == nil {
		return lines
	}
	problems := m.shown.frame.Status.Problems
	most := max(1, m.height/6)
	for i, p := range problems {
		if i == most-1 && len(problems) > most {
			rest := fmt.Sprintf("%d more problems: xdpallow status", len(problems)-i)
			return append(lines, m.paint.text(bad, clip(rest, m.width)))
		}
		text := policy.Printable("problem: " + p.String())
		if with := text + policy.Printable(" (hint: "+p.Hint+")"); p.Hint != "" && ansi.StringWidth(with) <= m.width {
			text = with
		}
		lines = append(lines, m.paint.text(bad, clip(text, m.width)))
	}
	return lines
}

// silence is the line about a source that fails.
func (m model) silence() string {
	text := fmt.Sprintf("daemon does not answer since %s UTC (%s)", m.since.UTC().Format(clock), short(m.now.Sub(m.since)))
	if m.shown != nil {
		text += fmt.Sprintf(", below is from %s", m.shown.frame.Time.UTC().Format(clock))
	}
	return policy.Printable(fmt.Sprintf("%s: %v", text, m.failing))
}

// title names the host and the state of the gate. Parts that do not fit are left out, the last
// ones first.
func (m model) title() string {
	host, state, how, rest := "", "waiting for the daemon", plain, []string(nil)
	if m.shown != nil {
		frame := m.shown.frame
		host = policy.Printable(frame.Host)
		switch {
		case m.failing != nil && frame.Status.Enforcing:
			state, how = "was enforcing", warn
		case frame.Status.Enforcing:
			state, how = "enforcing", good
		default:
			state, how = "NOT ENFORCING", bad
		}
		up := "no daemon"
		if d := frame.Status.Daemon; d != nil {
			up = "up " + short(frame.Time.Sub(d.Since))
		}
		rest = append(rest, fmt.Sprintf("generation %d", frame.Status.Generation),
			policy.Count(frame.Status.Entries, "prefix", "prefixes"), up,
			frame.Time.UTC().Format(clock)+" UTC", policy.Count(frame.Status.Owners, "owner", "owners"))
	}
	if m.paused {
		rest = slices.Insert(rest, 0, "PAUSED")
	}
	// The state is never clipped: a long name of the host is.
	name := clip(strings.TrimSpace("xdpallow "+host), max(m.width/2, m.width-60))
	used := ansi.StringWidth(name) + gap + len(state)
	title := m.paint.text(strong, name) + blanks(gap) + m.paint.text(how, state)
	for _, part := range rest {
		if used += gap + len(part); used > m.width {
			break
		}
		title += blanks(gap) + part
	}
	return title
}

var helpText = []string{
	"rates are since the last answer; each line is drawn to its own scale",
	"ALL is the sum of a verdict; the backstop counts some packets again",
	"talkers are estimated from samples of a minute; near misses are kept a day",
}

// foot shows the keys, how many tables found no place, and how good the samples are.
func (m model) foot(hidden int) []string {
	if m.height < 4 {
		return nil
	}
	pause := "p pause"
	if m.paused {
		pause = "p go on"
	}
	keys := fmt.Sprintf("q quit  %s  s sort (%s)  ? help", pause, m.order)
	if hidden > 0 {
		keys = fmt.Sprintf("%s hidden  ", policy.Count(hidden, "table", "tables")) + keys
	}
	lines := []string{m.paint.text(faint, clip(keys, m.width))}
	if m.shown != nil {
		samples, how := m.samples()
		if left := m.width - ansi.StringWidth(keys) - ansi.StringWidth(samples); left >= gap {
			lines[0] += blanks(left) + m.paint.text(how, samples)
		}
	}
	if m.help && m.height > 2*len(helpText) {
		for _, text := range helpText {
			lines = slices.Insert(lines, len(lines)-1, m.paint.text(faint, clip(text, m.width)))
		}
	}
	return lines
}

// samples is what talkers and near misses are estimated from.
func (m model) samples() (text string, how tint) {
	t := m.shown.frame.Talkers
	text = fmt.Sprintf("%s samples in %.0f s", whole(t.Samples), t.WindowSeconds)
	if t.Lost > 0 {
		return fmt.Sprintf("%s, %s lost", text, whole(t.Lost)), warn
	}
	if lost := m.shown.frame.EventsLost; lost > 0 {
		text += fmt.Sprintf(", %s lost before", whole(lost))
	}
	return text, faint
}

// body is all sections, in one column or two.
func (m model) body(height int) (lines []string, hidden int) {
	left, right := m.sections()
	if m.width < wide {
		return stack(append(left, right...), m.width, height)
	}
	width := (m.width - between) / 2
	a, hiddenLeft := stack(left, width, height)
	b, hiddenRight := stack(right, width, height)
	lines = make([]string, max(len(a), len(b)))
	for i := range lines {
		if i < len(a) {
			lines[i] = a[i]
		}
		if i < len(b) && b[i] != "" {
			lines[i] = pad(lines[i], width, false) + blanks(between) + b[i]
		}
	}
	return lines, hiddenLeft + hiddenRight
}
