package top

// Promises guarded here: rates are what was counted, divided by the time it took,
// for every reset, new interface and gap; a daemon that does not answer is said,
// with its last state; and the keys do what the foot says.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/xdpallow/xdpallow/loader/api"
)

func counted(second float64, counters ...api.Counter) api.Live {
	return api.Live{Time: begin.Add(time.Duration(second * float64(time.Second))), Counters: counters}
}

func dropped(iface string, packets uint64) api.Counter {
	return api.Counter{Interface: iface, Layer: "xdp", Verdict: "drop", Reason: "not_listed", Family: "ipv4", Packets: packets, Bytes: 60 * packets}
}

func TestRates(t *testing.T) {
	row := kind{"xdp", "drop", "not_listed"}
	var r *reading
	for i, c := range []struct {
		frame api.Live
		want  float64
	}{
		{counted(0, dropped("eth0", 1000)), unknown}, // nobody knows yet
		{counted(1, dropped("eth0", 1500)), 500},
		{counted(3, dropped("eth0", 2500)), 500},                         // over two seconds
		{counted(4, dropped("eth0", 2600), dropped("eth1", 1<<40)), 100}, // adopted with its old counters
		{counted(5, dropped("eth0", 2600), dropped("eth1", 1<<40+7)), 7}, //
		{counted(6, dropped("eth1", 1<<40+9)), 2},                        // eth0 is detached
		{counted(7, dropped("eth1", 30)), 30},                            // counting began anew
		{counted(7, dropped("eth1", 40)), unknown},                       // twice the same moment
	} {
		r = r.next(c.frame, time.Second)
		got := r.traffic[row]
		if got.packets.rate != c.want && !(math.IsNaN(got.packets.rate) && math.IsNaN(c.want)) {
			t.Errorf("frame %d: %g packets a second, want %g", i, got.packets.rate, c.want)
		}
		if all := r.traffic[kind{"xdp", "drop", ""}].packets.rate; all != got.packets.rate && !math.IsNaN(all) {
			t.Errorf("frame %d: %g of all reasons, %g of the only one", i, all, got.packets.rate)
		}
	}
	rates := r.traffic[row].packets.history.rates
	if last := rates[slots-6:]; !math.IsNaN(rates[slots-7]) || last[0] != 500 || last[1] != 100 {
		t.Errorf("the history is %v: the second that nobody measured should be empty", rates)
	}
}

func TestSpark(t *testing.T) {
	var m meter
	for i := range 20 {
		m = m.next(uint64(i), []uint64{0, 1, 50, 100}[i%4], step{seconds: 1})
	}
	line := spark(m.history, 0, slots)
	if want := strings.Repeat(" ", 40) + strings.Repeat("▁▂▅█", 5); line != want {
		t.Errorf("%q, want %q", line, want)
	}
	if late := spark(m.history, 3, slots); !strings.HasSuffix(late, "█   ") {
		t.Errorf("no gap for three seconds without an answer: %q", late)
	}
	// A peak is never lost where there is less room, and cells keep their borders.
	narrow := []rune(spark(m.history, 0, 30))
	next := []rune(spark(m.next(0, 0, step{seconds: 1}).history, 0, 30))
	if string(narrow[len(narrow)-4:]) != "▂█▂█" || string(next[len(next)-5:]) != "▂█▂█▁" {
		t.Errorf("%q and a second later %q", string(narrow), string(next))
	}
}

func TestSilentDaemon(t *testing.T) {
	m := send(newModel(nil, Options{NoColor: true, Interval: time.Second}), tea.WindowSizeMsg{Width: 160, Height: 24})
	m = send(m, answer{err: errors.New("no daemon answers"), at: begin})
	if view := m.View().Content; !strings.Contains(view, "waiting for the daemon") || !strings.Contains(view, "daemon does not answer since 03:12:00 UTC") {
		t.Errorf("before the first answer:\n%s", view)
	}
	m = silent(after(30, 160, 24, Options{NoColor: true}), 5)
	view := m.View().Content
	for _, want := range []string{
		"was enforcing", "daemon does not answer since 03:12:30 UTC (4s), below is from 03:12:29", "no daemon answers on", "drop not_listed",
	} {
		if !strings.Contains(view, want) {
			t.Errorf("no %q in\n%s", want, view)
		}
	}
	frame := attack(40)
	frame.Status.Enforcing = false
	view = send(m, answer{frame: frame, at: frame.Time}).View().Content
	if strings.Contains(view, "does not answer") || !strings.Contains(view, "NOT ENFORCING") {
		t.Errorf("it answers again, and does not enforce:\n%s", view)
	}
}

func TestKeys(t *testing.T) {
	m := after(30, 120, 40, Options{NoColor: true})
	before := m.View().Content
	m = send(m, key("p"))
	m = send(m, answer{frame: attack(30), at: attack(30).Time})
	if view := m.View().Content; !strings.Contains(view, "PAUSED") || strings.Contains(view, "03:12:30") {
		t.Errorf("paused it goes on:\n%s", view)
	}
	m = send(m, tea.KeyPressMsg{Code: tea.KeySpace, Text: " "})
	if view := m.View().Content; strings.Contains(view, "PAUSED") || !strings.Contains(view, "03:12:30") {
		t.Errorf("it is still paused:\n%s", view)
	}
	if last := m.shown.traffic[kind{"xdp", "drop", ""}].packets.history; math.IsNaN(last.rates[slots-1]) || math.IsNaN(last.rates[slots-2]) {
		t.Error("pausing made a gap")
	}
	seen := map[string]bool{}
	for range orders {
		seen[strings.SplitAfter(m.View().Content, "TALKER, PREFIX")[1]] = true
		m = send(m, key("s"))
	}
	if len(seen) < 2 || m.order != byPackets {
		t.Errorf("%d orders", len(seen))
	}
	if help := send(m, key("?")).View().Content; !strings.Contains(help, helpText[0]) || strings.Contains(before, helpText[0]) {
		t.Error("help is not what ? shows")
	}
	for _, quit := range []tea.KeyPressMsg{key("q"), {Code: 'c', Mod: tea.ModCtrl}} {
		if _, cmd := m.Update(quit); cmd == nil || cmd() != (tea.QuitMsg{}) {
			t.Errorf("%s does not quit", quit)
		}
	}
}

// Run asks again after an answer and after a failure, and ends by a key or by its
// context, without an error.
func TestRun(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "1")
	asked := 0
	enough := make(chan struct{})
	source := func(context.Context) (api.Live, error) {
		if asked++; asked == 4 {
			close(enough)
		}
		if asked%2 == 0 {
			return api.Live{}, errors.New("no daemon answers")
		}
		return attack(asked), nil
	}
	keys, typist := io.Pipe()
	go func() { <-enough; _, _ = typist.Write([]byte("q")) }()
	var out bytes.Buffer
	if err := Run(t.Context(), keys, &out, source, Options{Interval: time.Millisecond}); err != nil {
		t.Errorf("quit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	keys, _ = io.Pipe()
	hangs := func(ctx context.Context) (api.Live, error) { <-ctx.Done(); return api.Live{}, ctx.Err() }
	if err := Run(ctx, keys, &out, hangs, Options{}); err != nil {
		t.Errorf("cancelled: %v", err)
	}
	for _, colour := range []string{"\x1b[31m", "\x1b[32m", "\x1b[38", "\x1b[2m"} {
		if strings.Contains(out.String(), colour) {
			t.Errorf("NO_COLOR, and there is %q", colour)
		}
	}
}
