package main

// Promise guarded here: the man page alone is enough at 3 a.m. without a network.

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

// sectionOf is the text of a section of the man page without its formatting.
func sectionOf(t *testing.T, name string) string {
	t.Helper()
	page, err := manual(env{})
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(page, "\n.SH "+name+"\n")
	if !found {
		t.Fatalf("no section %s", name)
	}
	text, _, _ = strings.Cut(text, "\n.SH ")
	return strings.NewReplacer(`\fB`, "", `\fP`, "", `\-`, "-", `\e`, `\`, `\(aq`, "'", `\&`, "").Replace(text)
}

func TestManualSections(t *testing.T) {
	for name, wants := range map[string][]string{
		"FILES":       {defaultSocket, defaultState, defaultBpffs, "/etc/xdpallow/config.yaml", "changes.jsonl"},
		"ENVIRONMENT": {socketVariable, fleetVariable},
		"EXIT STATUS": {"0", "1", "2", "3", "4", "check"},
		"LIST FORMAT": {"owner=", "service=", "until=", "note=", "#"},
		"REASONS":     nil,
		"EXAMPLES":    nil,
		"SEE ALSO":    {"systemctl(1)"},
	} {
		text := sectionOf(t, name)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not name %s:\n%s", name, want, text)
			}
		}
	}
}

// Every reason that the kernel has is explained, and no other.
func TestManualReasons(t *testing.T) {
	text := sectionOf(t, "REASONS")
	for _, reason := range maps.Reasons() {
		if !strings.Contains(text, "\n"+reason.String()+"\n") {
			t.Errorf("%s is not explained", reason)
		}
	}
	if n := strings.Count(text, "\n.TP\n"); n != len(maps.Reasons()) {
		t.Errorf("%d reasons are explained, there are %d", n, len(maps.Reasons()))
	}
}

// What is shown can be typed: each example is a command with flags that it has, and each
// line of a list is one.
func TestManualExamples(t *testing.T) {
	app, n := newApp(env{}), 0
	for line := range strings.Lines(sectionOf(t, "EXAMPLES")) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "xdpallow" {
			continue
		}
		n++
		command := app.Command(words[1])
		if command != nil && len(command.Subcommands) > 0 {
			command, words = subcommand(command, words[2]), words[1:]
		}
		if command == nil {
			t.Errorf("no command: %s", line)
			continue
		}
		for _, word := range words[2:] {
			if isFlag(word) && !isOneOf(append([]cli.Flag{}, command.Flags...), word) {
				t.Errorf("no flag %s: %s", word, line)
			}
		}
	}
	if n < 8 {
		t.Errorf("%d examples", n)
	}
	_, list, _ := strings.Cut(sectionOf(t, "LIST FORMAT"), "\n.nf\n")
	list, _, _ = strings.Cut(list, "\n.fi\n")
	if claims, _, err := policy.ParseList("man", policy.OriginCLI, strings.NewReader(list)); err != nil || len(claims) < 3 {
		t.Errorf("the list is none: %d claims, %v\n%s", len(claims), err, list)
	}
}
