// Package transfer writes all that commands made as text, and reads that text, to take it to another
// host or back. Exporting entries alone would admit on the other host a source that is suspended here.
package transfer

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

const exportHead = `# All that commands of xdpallow made on a host. To make it so again: xdpallow import FILE
`

// Write writes what commands made of d: suspensions, limits, entries. With all, what flags
// and files declare, and whom lists of a fleet stop and limit, follows as comments, which no import
// reads: it moves with them.
func Write(w io.Writer, d desired.State, all bool) error {
	if _, err := io.WriteString(w, exportHead); err != nil {
		return err
	}
	for _, directive := range directives(d.Overrides) {
		if _, err := fmt.Fprintln(w, directive); err != nil {
			return err
		}
	}
	made := d.Made()
	if len(d.Orphans()) > 0 {
		made = slices.Values(slices.SortedFunc(made, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) }))
	}
	if err := policy.WriteLines(w, made); err != nil || !all {
		return err
	}
	declared := d.Declared()
	for _, origin := range slices.Sorted(maps.Keys(declared)) {
		for _, claim := range declared[origin] {
			if _, err := fmt.Fprintf(w, "# %s: %s\n", origin, policy.FormatLine(claim)); err != nil {
				return err
			}
		}
	}
	for _, origin := range slices.Sorted(maps.Keys(d.Fleets)) {
		for _, directive := range directives(d.Fleets[origin]) {
			if _, err := fmt.Fprintf(w, "# %s: %s\n", origin, directive); err != nil {
				return err
			}
		}
	}
	return nil
}

// directives are o as lines of an export.
func directives(o desired.Overrides) (lines []policy.Directive) {
	line := func(words ...string) *policy.Directive {
		lines = append(lines, policy.Directive{Words: words})
		return &lines[len(lines)-1]
	}
	for _, s := range o.SortedSuspensions() {
		d := line("suspend", s.Subject.String())
		set := func(key, value string) { d.Fields = append(d.Fields, policy.Field{Key: key, Value: value}) }
		if !s.Time.IsZero() {
			set("since", s.Time.UTC().Format(time.RFC3339))
			set("by", fmt.Sprint(s.UID))
		}
		if s.Nested {
			set("nested", "yes")
		}
		if s.Owner != "" && !s.Unnoted {
			set("held", fmt.Sprint(len(s.Held)))
		}
		if s.Reason != "" {
			set("reason", s.Reason)
		}
		for _, p := range s.Held {
			line("held", s.Owner, p.String())
		}
		for _, stay := range s.Stays {
			line("stays", s.Owner, stay.Prefix.String()).Fields = []policy.Field{{Key: "owner", Value: stay.Owner}}
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(o.Limits)) {
		l := o.Limits[owner]
		rate := policy.FormatRate(l.PerSecond)
		if same, err := policy.ParseRate(rate); err != nil || same != l.PerSecond { // it is rounded, for people
			rate = strconv.FormatFloat(l.PerSecond, 'g', -1, 64) + "/s"
		}
		line("limit", owner, rate).Fields = []policy.Field{{Key: "burst", Value: fmt.Sprint(l.Burst)}}
	}
	return lines
}

// Export is an export as it was read.
type Export struct {
	Claims   []policy.Claim
	Warnings []string
	desired.Overrides
}

// Read reads what Write wrote, or somebody in its place: of a suspension only the
// subject is needed. Errors are as of policy.ParseList.
func Read(name, text string) (Export, error) {
	x := Export{Overrides: desired.Overrides{Suspensions: map[policy.Subject]store.Suspension{}, Limits: map[string]store.Limit{}}}
	want := map[string]string{} // how many prefixes an owner's suspension says it holds
	take := func(d policy.Directive) error {
		switch d.Words[0] {
		case "limit":
			return x.takeLimit(d)
		case "suspend":
			want[d.Words[1]] = d.Get("held")
			return x.takeSuspension(d)
		}
		return x.takeHeld(d)
	}
	claims, warnings, err := policy.ParseExport(name, strings.NewReader(text), take)
	if err != nil {
		return x, err
	}
	x.Claims, x.Warnings = claims, warnings
	for _, s := range x.SortedSuspensions() {
		if held := want[s.Owner]; s.Owner != "" && held != "" && held != strconv.Itoa(len(s.Held)) {
			return x, &policy.InputError{Where: name, What: fmt.Sprintf("the suspension of %s holds %s prefixes, and %d are here: a part of the file is missing", s.Owner, held, len(s.Held))}
		}
	}
	return x, nil
}

// Contents counts what an export has.
type Contents struct{ Entries, Suspensions, Limits int }

// mostLooked is how many bytes of entries Look has in memory at a time.
const mostLooked = 1 << 17

// Look counts what text, the export of that name, has, and returns as refused what Read refuses of
// it. It reads entries, which come last, a part at a time.
func Look(name string, text io.ReadSeeker) (c Contents, refused, err error) {
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return c, nil, err
	}
	var part strings.Builder
	for lines := bufio.NewReader(text); err == nil; {
		var line string
		line, err = lines.ReadString('\n')
		entry := c.count(line)
		if part.WriteString(line); (err != nil || entry && part.Len() > mostLooked) && refused == nil {
			_, refused = Read(name, part.String())
			part.Reset()
		}
	}
	if refused == nil || err != io.EOF {
		if err == io.EOF {
			err = nil
		}
		return c, refused, err
	}
	var all strings.Builder // to say in which line of all
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return c, refused, err
	}
	if _, err := io.Copy(&all, text); err != nil {
		return c, refused, err
	}
	_, refused = Read(name, all.String())
	return c, refused, nil
}

// count counts line, and reports whether it has an entry.
func (c *Contents) count(line string) (entry bool) {
	switch word, _, _ := strings.Cut(line, " "); word {
	case "suspend":
		c.Suspensions++
	case "limit":
		c.Limits++
	case "", "#", "held", "stays":
	default:
		c.Entries++
		return true
	}
	return false
}

func (x Export) takeLimit(d policy.Directive) error {
	l := store.Limit{Owner: d.Words[1]}
	if _, again := x.Limits[l.Owner]; again {
		return &policy.InputError{What: l.Owner + " is limited twice"}
	}
	if err := policy.ParseName("owner", l.Owner); err != nil {
		return err
	}
	var err error
	if l.PerSecond, err = policy.ParseRate(d.Words[2]); err != nil {
		return &policy.InputError{What: err.Error()} // its hint is a command, and this a file
	}
	if l.Burst = desired.BurstOf(l.PerSecond); d.Get("burst") != "" {
		burst, err := strconv.ParseUint(d.Get("burst"), 10, 32)
		if err != nil || burst == 0 {
			return &policy.InputError{What: fmt.Sprintf("burst %q is not a number from 1 to 4294967295", d.Get("burst"))}
		}
		l.Burst = uint32(burst)
	}
	x.Limits[l.Owner] = l
	return desired.CheckLimit(l)
}

func (x Export) takeSuspension(d policy.Directive) error {
	subject, err := parseSubject(d.Words[1])
	if err != nil {
		return err
	}
	if _, again := x.Suspensions[subject]; again {
		return &policy.InputError{What: subject.String() + " is suspended twice"}
	}
	s := store.Suspension{Subject: subject, Reason: d.Get("reason"), Unnoted: subject.Owner != "" && d.Get("held") == ""}
	if err := policy.ParseNote(s.Reason); err != nil {
		return err
	}
	if text := d.Get("since"); text != "" {
		if s.Time, err = policy.ParseUntil(text); err != nil {
			return &policy.InputError{What: fmt.Sprintf("since %q is not a time as 2026-11-28T14:00:00Z", text)}
		}
	}
	if text := d.Get("by"); text != "" {
		uid, err := strconv.ParseUint(text, 10, 32)
		if err != nil || s.Time.IsZero() {
			return &policy.InputError{What: fmt.Sprintf("by %q is not a uid beside since=TIME", text)}
		}
		s.UID = uint32(uid)
	}
	switch nested := d.Get("nested"); {
	case nested != "" && nested != "yes":
		return &policy.InputError{What: fmt.Sprintf("nested is yes or not there, and not %q", nested)}
	case subject.Owner == "" && nested+d.Get("held") != "":
		return &policy.InputError{What: "nested and held are of owners: a prefix is suspended with all that lies in it"}
	default:
		s.Nested = nested == "yes"
	}
	x.Suspensions[subject] = s
	return nil
}

// parseSubject reads an owner or a prefix, as commands do.
func parseSubject(text string) (policy.Subject, error) {
	if _, err := netip.ParseAddr(text); err == nil || strings.ContainsAny(text, "/:%") {
		prefix, _, err := policy.ParsePrefix(text)
		return policy.Subject{Prefix: prefix}, err
	}
	return policy.Subject{Owner: text}, policy.ParseName("owner", text)
}

// takeHeld takes one prefix over that a suspension of an owner holds, or leaves alone.
func (x Export) takeHeld(d policy.Directive) error {
	subject := policy.Subject{Owner: d.Words[1]}
	s, found := x.Suspensions[subject]
	if !found || s.Unnoted {
		return &policy.InputError{What: fmt.Sprintf("no line above is: suspend %s held=…", subject)}
	}
	prefix, _, err := policy.ParsePrefix(d.Words[2])
	if err != nil {
		return err
	}
	if d.Words[0] == "held" {
		s.Held = insert(s.Held, prefix, policy.ComparePrefix)
	} else {
		stay := policy.Stay{Prefix: prefix, Owner: d.Get("owner")}
		if err := policy.ParseName("owner", stay.Owner); err != nil {
			return err
		}
		s.Stays = insert(s.Stays, stay, func(a, b policy.Stay) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	}
	x.Suspensions[subject] = s
	return nil
}

// insert keeps all sorted, each once.
func insert[T any](all []T, one T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(all, one, compare)
	if found {
		return all
	}
	return slices.Insert(all, i, one)
}
