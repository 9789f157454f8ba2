package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: completion knows commands, flags, owners and prefixes, asks nobody
// who does not answer, and never says a word that is no candidate.
func TestCompletion(t *testing.T) {
	engine := sampleEngine()
	engine.owners.Owners = []api.Owner{{Owner: "acme"}, {Owner: "umbrella"}}
	engine.status.Suspended = []api.Suspension{{Subject: "192.0.2.0/24"}, {Subject: "umbrella"}}
	engine.status.Services = append(engine.status.Services, api.Service{Service: policy.Service{Name: "admin", Ports: []policy.Port{{Protocol: policy.TCP, Number: 22}}}})
	w := newWorld(t).serve(t, engine)
	complete := func(line string) string {
		t.Helper()
		words := []string{"completion", "complete", "--socket", w.socket, "--"}
		code, out, stderr := w.run(append(words, strings.Split(line, " ")...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: exit %d, %s", line, code, stderr)
		}
		return strings.Join(strings.Fields(out), " ")
	}
	for line, want := range map[string]string{
		"re":                        "reload remove replace resume",
		"nonsense x":                "",
		"list --":                   "--expiring --bpffs --output --owner --quiet --socket --state --unused",
		"list --owner ":             "- acme umbrella",
		"list ":                     "acme umbrella",
		"add --owner ":              "acme umbrella",
		"add --service ":            "admin api",
		"mode audit --service a":    "admin api",
		"check --port ":             "tcp/22 tcp/443 udp/443",
		"detach --interface ":       "eth0",
		"doc":                       "doctor",
		"doctor --tr":               "--try",
		"run --interface l":         "", // nobody guards lo
		"list -o ":                  "haproxy json nginx table text",
		"stats --output ":           "json prometheus table",
		"status -o ":                "json table",
		"resume ":                   "192.0.2.0/24 umbrella",
		"he":                        "help",
		"help su":                   "suspend",
		"--socket ":                 "",
		"--socket s resu":           "resume",
		"-o json list --own":        "--owner",
		"add 192.0.2.0/24 --owner=": "",
		"remove 2":                  "2001:db8:42::/48", // 203.0.113.0/24 was not made by add
		"suspend ":                  "198.51.100.0/28 2001:db8:42::/48 203.0.113.0/24 acme umbrella",
		"suspend u":                 "umbrella",
		"limit ":                    "acme umbrella",
		"limit acme ":               "none",
		"run --mode e":              "enforce",
		"completion ":               "bash fish zsh",
		"fleet re":                  "remove replace resume",
		"fleet remove --allow":      "--allow-empty",
		"fleet list -o t":           "table text",
		"fleet limit acme ":         "none",
		"fleet nonsense x":          "",
		"exp":                       "export",
		"import --allow-o":          "--allow-open",
		"export --a":                "--all",
	} {
		got := complete(line)
		if line == "list --" {
			for _, word := range strings.Fields(want) {
				if !strings.Contains(" "+got+" ", " "+word+" ") {
					t.Errorf("%q: %s has no %s", line, got, word)
				}
			}
			continue
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	// An owner is not looked for in a list of a million prefixes.
	w.asked = nil
	for _, line := range []string{"list --owner ", "limit ", "suspend um", "resume ", "add --service ", "check --port "} {
		complete(line)
	}
	for _, asked := range w.asked {
		if asked == "list " {
			t.Errorf("the whole list was asked for: %v", w.asked)
		}
	}
	w.err = errDropped
	if got := complete("suspend "); got != "" {
		t.Errorf("an engine that fails has %q", got)
	}
	w.socket += "-of-nobody"
	if got := complete("remove ") + complete("st"); got != "statsstatus" && got != "stats status" {
		t.Errorf("without a daemon: %q", got)
	}
}

// Promise: what bash asks is what it is told, IPv6 prefixes among it.
func TestCompletionInBash(t *testing.T) {
	_, script, _ := newWorld(t).run("completion", "bash")
	for line, want := range map[string]string{
		"xdpallow remove 2001:db8": "db8:42::/48",
		"xdpallow remove 20":       "2001:db8:42::/48",
		"xdpallow suspend ":        "acme",
	} {
		said := "acme"
		if strings.Contains(line, "remove") {
			said = "2001:db8:42::/48"
		}
		shell := exec.Command("bash", "--norc", "-c", script+`xdpallow() { printf '%s\n' "$SAID"; }; _xdpallow; printf '%s\n' "${COMPREPLY[@]}"`)
		shell.Env = append(shell.Environ(), "COMP_LINE="+line, "COMP_POINT=99", "SAID="+said)
		if out, err := shell.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%q: %v, %q, want %q", line, err, out, want)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		if _, script, _ := newWorld(t).run("completion", shell); !strings.Contains(script, "xdpallow completion complete -- ") {
			t.Errorf("%s: %s", shell, script)
		}
	}
}

// Promise: the man page has every command with every flag, and is roff that a
// formatter has nothing to say against.
func TestManual(t *testing.T) {
	code, page, stderr := newWorld(t).run("assets", "man")
	if code != 0 || !strings.Contains(page, ".TH xdpallow 8") || strings.Contains(page, "`") {
		t.Fatalf("exit %d, %s\n%s", code, stderr, page)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(page, "\n.SH ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	for _, command := range everyCommand(newApp(env{})) {
		group, _, nested := strings.Cut(command.name, " ")
		text, found := sections[group]
		if nested {
			_, text, found = strings.Cut(text, ".SS "+command.Name+"\n")
			text, _, _ = strings.Cut(text, "\n.SS ")
		}
		if !found || !strings.Contains(text, command.Usage) {
			t.Errorf("%s is not in the man page", command.Name)
		}
		for _, flag := range command.Flags {
			if name := `\fB--` + flag.Names()[0]; !strings.Contains(text, name+`\fP`) && !strings.Contains(text, name+",") {
				t.Errorf("%s --%s is not in the man page:\n%s", command.Name, flag.Names()[0], text)
			}
		}
	}
	if groff, err := exec.LookPath("groff"); err == nil {
		format := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z")
		format.Stdin = strings.NewReader(page)
		if out, err := format.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff: %v\n%s", err, out)
		}
	}
}
