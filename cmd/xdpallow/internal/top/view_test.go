package top

// Promises guarded here: the view as an operator sees it, at the sizes that
// people have; no line ever wider, and no view higher, than the terminal; no
// colour when none is asked for; nothing that others wrote reaches the terminal
// as a command.

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
)

var update = flag.Bool("update", false, "write the golden frames of testdata anew")

// rapid logs the seed of a failure; TEST_SEED runs that one again.
func TestMain(m *testing.M) {
	flag.Parse()
	if seed := os.Getenv("TEST_SEED"); seed != "" {
		if err := flag.Set("rapid.seed", seed); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func send(m model, messages ...tea.Msg) model {
	for _, msg := range messages {
		next, _ := m.Update(msg)
		m = next.(model)
	}
	return m
}

func key(text string) tea.KeyPressMsg {
	return tea.KeyPressMsg{Code: []rune(text)[0], Text: text}
}

// after is a view that watched the attack for some seconds.
func after(seconds, width, height int, o Options) model {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	m := send(newModel(nil, o), tea.WindowSizeMsg{Width: width, Height: height})
	for s := range seconds {
		m = send(m, answer{frame: attack(s), at: attack(s).Time})
	}
	return m
}

func silent(m model, seconds int) model {
	for s := range seconds {
		m = send(m, answer{err: errors.New("no daemon answers on /run/xdpallow/xdpallow.sock"), at: m.live.frame.Time.Add(time.Duration(s+1) * time.Second)})
	}
	return m
}

func TestGolden(t *testing.T) {
	quiet := func(m model) model { return m }
	for _, c := range []struct {
		name          string
		width, height int
		then          func(model) model
	}{
		{"80x24", 80, 24, quiet},
		{"200x60", 200, 60, quiet},
		{"40x10", 40, 10, quiet},
		{"silent-80x24", 80, 24, func(m model) model { return silent(m, 4) }},
	} {
		for _, noColor := range []bool{false, true} {
			name := c.name + ".colour"
			if noColor {
				name = c.name
			}
			t.Run(name, func(t *testing.T) {
				view := c.then(after(55, c.width, c.height, Options{NoColor: noColor})).View()
				if !view.AltScreen {
					t.Error("it does not leave the screen as it was")
				}
				got := strings.ReplaceAll(view.Content, "\x1b", "<esc>") + "\n"
				if noColor && strings.Contains(got, "<esc>") {
					t.Error("there is colour")
				}
				path := filepath.Join("testdata", name+".txt")
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// With colour taken away the view is the one without: colour says nothing alone.
func TestColourSaysNothingAlone(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {200, 60}, {40, 10}} {
		with := ansi.Strip(after(30, size[0], size[1], Options{}).View().Content)
		without := after(30, size[0], size[1], Options{NoColor: true}).View().Content
		if diff := cmp.Diff(without, with); diff != "" {
			t.Errorf("%v: %s", size, diff)
		}
	}
}

func TestNeverOverflows(t *testing.T) {
	text := rapid.SampledFrom([]string{
		"", "acme", strings.Repeat("x", 300), "日本語の長い名前です、これは", "\x1b[31mred\x1b[0m", "a\nb\tc\rd", "é\u0301\u200d\u202e", "👩‍👩‍👧‍👦 family",
	})
	rapid.Check(t, func(t *rapid.T) {
		frame := attack(rapid.IntRange(0, 60).Draw(t, "second"))
		frame.Host = text.Draw(t, "host")
		for range rapid.IntRange(0, 12).Draw(t, "problems") {
			frame.Status.Problems = append(frame.Status.Problems, api.Problem{Subject: text.Draw(t, "subject"), Text: text.Draw(t, "text"), Hint: text.Draw(t, "hint")})
		}
		for i := range frame.Owners {
			frame.Owners[i].Owner = fmt.Sprint(i, text.Draw(t, "owner"))
		}
		for i := range frame.Talkers.NearMisses {
			frame.Talkers.NearMisses[i].Owner = text.Draw(t, "owner")
		}
		for i := range frame.Status.Interfaces {
			frame.Status.Interfaces[i].Reason = text.Draw(t, "reason")
		}
		frame.Status.Services[0].Name = text.Draw(t, "service")
		width, height := rapid.IntRange(1, 260).Draw(t, "width"), rapid.IntRange(1, 80).Draw(t, "height")
		m := after(rapid.IntRange(0, 3).Draw(t, "seconds"), width, height, Options{NoColor: rapid.Bool().Draw(t, "no colour")})
		m = send(m, answer{frame: frame, at: frame.Time})
		if rapid.Bool().Draw(t, "silent") {
			m = silent(m, 3)
		}
		if rapid.Bool().Draw(t, "help") {
			m = send(m, key("?"))
		}
		checkFits(t, m.View().Content, width, height)
	})
}

func checkFits(t *rapid.T, content string, width, height int) {
	lines := strings.Split(content, "\n")
	if len(lines) > height {
		t.Fatalf("%d lines in a terminal of %d", len(lines), height)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > width {
			t.Fatalf("%d cells in a terminal of %d: %q", w, width, line)
		}
		if strings.ContainsAny(ansi.Strip(line), "\x1b\r\t\u202e") || strings.Contains(line, "\x1b[31mred") {
			t.Fatalf("a command for the terminal: %q", line)
		}
	}
}

// Nothing is hidden without a word: a table that is cut says how long it is.
func TestCutTablesSayIt(t *testing.T) {
	view := after(55, 80, 24, Options{NoColor: true}).View().Content
	for _, heading := range []string{"TALKER, PREFIX 3/24", "TALKER, ADDRESS 2/9"} {
		if !strings.Contains(view, heading) {
			t.Errorf("no %q in\n%s", heading, view)
		}
	}
}

func TestHuman(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 0.01: "<0.1", 0.3: "0.3", 9.94: "9.9", 9.96: "10", 42: "42", 999.4: "999", 999.6: "1.00k",
		1234: "1.23k", 12_345: "12.3k", 99_960: "100k", 123_456: "123k", 999_600: "1.00M", 1.02e6: "1.02M", 2e18: "2.00E", math.MaxUint64: "18.4E",
	} {
		if got := human(n); got != want {
			t.Errorf("%g is %q, want %q", n, got, want)
		}
	}
	if got := human(math.NaN()); got != "-" {
		t.Errorf("an unknown rate is %q", got)
	}
}

// Who was looked at once in a flood is no talker; who sent one packet when every
// packet is looked at, is.
func TestOneSampleIsNoTalker(t *testing.T) {
	m := after(2, 80, 60, Options{NoColor: true})
	frame := attack(2)
	frame.Talkers.Prefixes = frame.Talkers.Prefixes[:3]
	for i, c := range []struct{ samples, packets uint64 }{{1, 1024}, {1, 1}, {4, 4096}} {
		frame.Talkers.Prefixes[i].Samples, frame.Talkers.Prefixes[i].Packets = c.samples, c.packets
	}
	view := send(m, answer{frame: frame, at: frame.Time}).View().Content
	if strings.Contains(view, "198.18.0.0/24") || !strings.Contains(view, "198.18.1.0/24") || !strings.Contains(view, "198.18.2.0/24") {
		t.Error(view)
	}
}
