package top

// This file is what happens: answers, keys, and the size of the terminal.

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/xdpallow/xdpallow/loader/api"
)

// answer is what the source said, or why it did not.
type answer struct {
	frame api.Live
	err   error
	at    time.Time
}

// again asks the next time.
type again struct{}

// order is what tables are sorted by.
type order int

const (
	byPackets order = iota
	byBytes
	byName
	orders
)

func (o order) String() string { return [...]string{"packets", "bytes", "name"}[o] }

// model is all that View shows. A reading is never changed once it is made, so
// pausing is holding on to one.
type model struct {
	ask      tea.Cmd
	interval time.Duration
	paint    paint

	width, height int
	live, shown   *reading // nil before the first answer
	failing       error    // of the last question
	since         time.Time
	now           time.Time // of the last answer or failure
	paused, help  bool
	order         order
}

func newModel(ask tea.Cmd, o Options) model {
	return model{ask: ask, interval: o.Interval, paint: paint{off: o.NoColor}}
}

// Init implements tea.Model.
func (m model) Init() tea.Cmd { return m.ask }

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m.press(msg.String())
	case answer:
		return m.take(msg), tea.Tick(m.interval, func(time.Time) tea.Msg { return again{} })
	case again:
		return m, m.ask
	}
	return m, nil
}

func (m model) press(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "q", "ctrl+c":
		return m, tea.Quit
	case "p", "space":
		m.paused = !m.paused
		m.shown = m.live
	case "s":
		m.order = (m.order + 1) % orders
	case "?":
		m.help = !m.help
	}
	return m, nil
}

// take goes on counting while the view is paused, so that nothing is missing
// from the history afterwards.
func (m model) take(a answer) model {
	m.now = a.at
	if a.err != nil {
		if m.failing == nil {
			m.since = a.at
		}
		m.failing = a.err
		return m
	}
	m.failing = nil
	m.live = m.live.next(a.frame, m.interval)
	if !m.paused {
		m.shown = m.live
	}
	return m
}
