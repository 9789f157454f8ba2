package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

const readme = "../../../../README.md"

// step is one command of a transcript and what it prints.
type step struct {
	command string
	output  []string
}

// transcript cuts the first console block after a heading out of a Markdown file.
func transcript(tb testing.TB, path, heading string) (steps []step) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), heading)
	_, rest, found := strings.Cut(rest, "```console\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		tb.Fatalf("%s has no console block", path)
	}
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		command, typed := strings.CutPrefix(line, "$ ")
		switch {
		case typed:
			steps = append(steps, step{command: command})
		case len(steps) == 0:
			tb.Fatalf("%s: the transcript begins with output: %q", path, line)
		default:
			last := &steps[len(steps)-1]
			last.output = append(last.output, line)
		}
	}
	if len(steps) < 5 {
		tb.Fatalf("%s: a transcript of %d commands is not the quick start", path, len(steps))
	}
	return steps
}

// does types the command, waits for it to end and for what it should print, and
// compares. A command in the background prints when it comes to it.
func (m *machine) does(s step) {
	m.tb.Helper()
	before, _ := m.lines()
	m.ended++
	if _, err := fmt.Fprintf(m.input, "%s\necho '%s'\n", s.command, mark); err != nil {
		m.tb.Fatalf("$ %s: %v", s.command, err)
	}
	var missing, extra []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		lines, ended := m.lines()
		missing, extra = compare(s.output, lines[len(before):])
		if len(missing) == 0 && ended == m.ended {
			break
		}
	}
	if len(missing)+len(extra) > 0 {
		lines, _ := m.lines()
		m.tb.Fatalf("$ %s\nprinted\n%s\nmissing: %q\nnot in the transcript: %q",
			s.command, strings.Join(lines[len(before):], "\n"), missing, extra)
	}
}

// compare takes the wanted lines out of got, in their order. Missing are those that
// did not come, extra what nobody wanted.
func compare(want, got []string) (missing, extra []string) {
	for _, line := range got {
		switch {
		case len(want) > 0 && pattern(want[0]).MatchString(line):
			want = want[1:]
		case !asides.MatchString(line):
			extra = append(extra, line)
		}
	}
	return want, extra
}

// asides are lines that a transcript may leave out: how a client in the background ends, who changed what, in the log of
// the daemon in the background, and rows of ordinary traffic.
var asides = regexp.MustCompile(`^xdpallow: warning: \w+ cut off: |^curl: \(56\) .*reset by peer$|^xdpallow: (warning: )?(added|removed|suspended|resumed|enrolled) .*generation \d+|^xdpallow: warning: "\w+" did not enrol |^xdpallow: (services changed|reloaded): ` +
	`|^xdp +eth0 +pass +(not_ip|other_protocol|not_opening) +(ipv4|ipv6|other) +\d+ +\d+$`)

var (
	moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	cards   = regexp.MustCompile(`[0-9a-f]{30,40} sha256:[0-9a-f]{16}`)
	figures = regexp.MustCompile(`\d+`)
	blanks  = regexp.MustCompile(` +`)
	cells   = regexp.MustCompile(`\+\d+`)
	row     = regexp.MustCompile(`^(LAYER|xdp|backstop) `)
)

// pattern matches line, word for word. Only what is measured may be another figure,
// and in a table the blanks follow the figures.
func pattern(line string) *regexp.Regexp {
	text := moments.ReplaceAllLiteralString(regexp.QuoteMeta(line), moments.String())
	text = cards.ReplaceAllLiteralString(text, cards.String())
	switch {
	case row.MatchString(line):
		text = blanks.ReplaceAllString(text, " +")
		text = cells.ReplaceAllString(text, `+\d+`)
	case strings.HasSuffix(line, "milliseconds"):
		at := strings.Index(text, "after")
		text = text[:at] + figures.ReplaceAllString(text[at:], `\d+`)
	case strings.Contains(line, " hosts have it ("):
		at := strings.LastIndexByte(text, '(')
		text = text[:at] + figures.ReplaceAllString(text[at:], `\d+`)
	}
	return regexp.MustCompile("^" + text + "$")
}

// Promise: the first thing that README shows is what happens, command by command and
// line by line.
func TestTranscript(t *testing.T) {
	steps := transcript(t, readme, "# xdpallow\n")
	h := newHost(t)
	clients := netip.MustParsePrefix("192.0.2.0/24")
	if err := h.lab.AddClients(clients); err != nil {
		t.Fatal(err)
	}
	labtest.Listen(t, h.lab.Host, ":443")
	var from netip.Addr
	for _, s := range steps {
		if _, comment, found := strings.Cut(s.command, "# from "); found {
			address, _, _ := strings.Cut(comment, ",")
			from = netip.MustParseAddr(address)
		}
	}
	if !clients.Contains(from) {
		t.Fatalf("the transcript's curl comes from %v", from)
	}
	m := newMachine(h, from.String())
	for _, s := range steps {
		if strings.Contains(s.command, "xdpallow stats") { // a row of it is customers'
			labtest.Expect(t, h.lab.Wire, netlab.Listed4, netip.AddrPortFrom(h.link().Host4, 443), netlab.Connected)
		}
		m.does(s)
	}
}

// Promise: what README tells of a customer's life happens, command by command: added
// for a while, seen, moved, warned of, extended, stopped and cut off, and all of it told
// by history.
func TestTranscriptOfACustomer(t *testing.T) {
	t.Parallel()
	steps := transcript(t, readme, "## A customer's life\n")
	h := newHost(t)
	if err := h.lab.AddClients(netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	labtest.ServeHTTP(t, h.lab.Host, ":443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
		if r.URL.Path == "/feed" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	m := newMachine(h, "192.0.2.7")
	m.does(step{command: "sudo xdpallow run --interface eth0 --port 443 --allow 203.0.113.0/24 &", output: []string{
		"xdpallow: eth0: attached (native); tcp/443 open to 1 prefix", "xdpallow: enforcing: the canary was dropped",
	}})
	for _, s := range steps {
		if _, comment, found := strings.Cut(s.command, "# from "); found {
			m.does(step{command: "export FROM=" + strings.FieldsFunc(comment, func(r rune) bool { return r == ',' || r == ':' })[0]})
		}
		m.does(s)
	}
}
