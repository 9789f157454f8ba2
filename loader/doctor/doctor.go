package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// State is how bad a line is.
type State string

// The states. A problem is what status calls one, or what a start would meet; a note is
// what is good to know, and may be as it should.
const (
	OK      State = "ok"
	Note    State = "note"
	Problem State = "problem"
)

// AsRoot is the hint to ask again with all rights: the same command as before.
const AsRoot = "sudo xdpallow doctor"

// Line is one thing that was looked at.
type Line struct {
	Subject string `json:"subject"`
	State   State  `json:"state"`
	Code    string `json:"code"` // stable, for scripts; of a problem of status its code
	Text    string `json:"text"`
	Hint    string `json:"hint"` // a command to paste, or ""
}

// Diagnose judges facts: problems first, then notes, each by subject, each once.
func Diagnose(f Facts) []Line {
	d := diagnosis{f: f}
	d.daemon()
	d.kernel()
	d.config()
	for _, device := range f.Devices {
		d.device(device)
	}
	d.beside()
	d.lookups()
	d.sysctls()
	d.udp()
	d.redirects()
	d.installation()
	slices.SortFunc(d.lines, compare)
	return slices.CompactFunc(d.lines, func(a, b Line) bool {
		return a.Code == b.Code && a.Subject == b.Subject && a.Text == b.Text
	})
}

func compare(a, b Line) int {
	order := []State{Problem, Note, OK}
	return cmp.Or(
		cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)),
		cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text), cmp.Compare(a.Hint, b.Hint),
	)
}

// diagnosis collects lines.
type diagnosis struct {
	f     Facts
	lines []Line
}

func (d *diagnosis) add(state State, code, subject, hint, format string, args ...any) {
	d.lines = append(d.lines, Line{Subject: subject, State: state, Code: code, Hint: hint, Text: fmt.Sprintf(format, args...)})
}

// problems adds what status would say, but for what a running gate has said already: the hint
// of the gate is the better one.
func (d *diagnosis) problems(state State, problems ...api.Problem) {
	for _, p := range problems {
		known := slices.ContainsFunc(d.lines, func(l Line) bool { return l.Code == p.Code && l.Subject == p.Subject && l.Text == p.Text })
		if !known {
			d.add(state, p.Code, p.Subject, p.Hint, "%s", p.Text)
		}
	}
}

// unknown adds what could not be read. It is no problem of the host where the caller may not
// read it.
func (d *diagnosis) unknown(code, subject, hint, what string, err error) {
	state := Problem
	if errors.Is(err, os.ErrPermission) {
		state, hint = Note, AsRoot
	}
	d.add(state, code, subject, hint, "%s is not known: %v", what, err)
}

// hintOf is the command that an error carries, or other.
func hintOf(err error, other string) string {
	var input *policy.InputError
	var hinting interface{ Hint() string }
	switch {
	case errors.As(err, &input) && input.Hint != "":
		return input.Hint
	case errors.As(err, &hinting):
		return hinting.Hint()
	}
	return other
}

// daemon says whether there is a gate, and all that it says itself.
func (d *diagnosis) daemon() {
	f := &d.f
	const code, subject = "daemon", "daemon"
	if f.Status != nil {
		d.problems(Problem, f.Status.Problems...)
	}
	switch {
	case errors.Is(f.StatusErr, os.ErrPermission):
		d.add(Note, code, subject, AsRoot, "it could not be asked: %v", f.StatusErr)
	case f.StatusErr != nil:
		d.add(Problem, code, subject, hintOf(f.StatusErr, "journalctl -u xdpallow"), "%v", f.StatusErr)
	case f.Status == nil:
		d.add(Note, code, subject, d.howToStart(), "none runs, and no gate is up: everything passes")
	case f.Status.Daemon == nil:
		d.add(Problem, code, subject, "systemctl start xdpallow", "none runs: the gate goes on with its last list, and nobody can change it")
	case f.Status.Enforcing:
		d.add(OK, code, subject, "", "pid %d answers, and the gate enforces", f.Status.Daemon.PID)
	default:
		d.add(Note, code, subject, "xdpallow status", "pid %d answers, and the gate does not enforce", f.Status.Daemon.PID)
	}
}

// howToStart is a command for a first start, which drops nothing.
func (d *diagnosis) howToStart() string {
	if d.f.Unit != "" {
		return "systemctl enable --now xdpallow"
	}
	interfaces, ports := strings.Join(d.f.Interfaces, ","), ""
	for _, s := range d.f.Services {
		ports += "," + policy.JoinPorts(s.Ports)
	}
	if interfaces == "" || ports == "" {
		return "xdpallow run --help"
	}
	return "xdpallow run --mode audit --interface " + interfaces + " --port " + ports[1:]
}

func (d *diagnosis) config() {
	if d.f.Config == "" {
		return
	}
	if d.f.ConfigErr == nil {
		d.add(OK, "config", d.f.Config, "", "can be read")
		return
	}
	mistakes := []error{d.f.ConfigErr}
	if joined, ok := d.f.ConfigErr.(interface{ Unwrap() []error }); ok {
		mistakes = joined.Unwrap()
	}
	if errors.Is(d.f.ConfigErr, os.ErrPermission) {
		d.unknown("config", d.f.Config, "", "what it says", d.f.ConfigErr)
		return
	}
	for _, err := range mistakes {
		d.add(Problem, "config", d.f.Config, hintOf(err, "xdpallow assets config"), "%s", strings.TrimPrefix(err.Error(), d.f.Config+": "))
	}
}
