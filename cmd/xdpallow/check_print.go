package main

// This file prints what check found out, as it comes.

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// checkedAtOnce is how many addresses of a file are asked about before their answers are printed:
// nobody has all of them in memory.
const checkedAtOnce = 400

// checks prints the results of a check as they come.
type checks struct {
	*call
	one     bool // one address and one port are asked about
	total   int
	dropped bool // one of them was
}

// print prints a line a port. In JSON one address and port is an object and all else an array,
// so that the shape depends on the question and not on the host.
func (c *checks) print(results []api.CheckResult) error {
	c.dropped = c.dropped || slices.ContainsFunc(results, func(r api.CheckResult) bool { return r.Verdict == "drop" })
	if c.json {
		return c.printElements(results)
	}
	c.total += len(results)
	out := bufio.NewWriter(c.out)
	for rest := results; len(rest) > 0; {
		r, ports := rest[0], []policy.Port{rest[0].Port}
		for len(ports) < len(rest) && rest[len(ports)].Address == r.Address && explain(rest[len(ports)]) == explain(r) {
			ports = append(ports, rest[len(ports)].Port)
		}
		for _, text := range policy.PortRanges(ports) { // of a range with one answer a line is enough
			fmt.Fprintf(out, "%s to %s: %s\n", r.Address, text, explain(r))
		}
		rest = rest[len(ports):]
	}
	if !c.flags.IsSet("file") && len(results) > 0 {
		if line := limited(results); line != "" {
			fmt.Fprintf(out, "  %s\n", line)
		}
		for _, line := range around(results[len(results)-1]) {
			fmt.Fprintf(out, "  %s\n", line)
		}
	}
	if err := out.Flush(); err != nil { // the first error of the writes above
		return err
	}
	if hint := c.again(results); hint != "" {
		c.note("hint: %s", hint)
	}
	return nil
}

// printElements prints results as printJSON would print an array with all of them.
func (c *checks) printElements(results []api.CheckResult) error {
	if c.one && len(results) == 1 {
		c.total++
		return c.printJSON(results[0])
	}
	var text bytes.Buffer
	elements := json.NewEncoder(&text)
	elements.SetIndent("  ", "  ")
	elements.SetEscapeHTML(false)
	for _, r := range results {
		if text.Truncate(len(bytes.TrimRight(text.Bytes(), "\n"))); c.total > 0 {
			text.WriteByte(',')
		} else {
			text.WriteByte('[')
		}
		c.total++
		text.WriteString("\n  ")
		if err := elements.Encode(r); err != nil {
			return err
		}
	}
	_, err := c.out.Write(bytes.TrimRight(text.Bytes(), "\n"))
	return err
}

// end ends what print began.
func (c *checks) end() error {
	var err error
	switch {
	case !c.json && c.total == 0:
		c.note("no port is protected: every source passes")
	case c.json && c.total == 0:
		_, err = io.WriteString(c.out, "[]\n")
	case c.json && !c.one:
		_, err = io.WriteString(c.out, "\n]\n")
	}
	return err
}

// limited names the limit on the openings of the one source that was asked about, or "".
func limited(results []api.CheckResult) string {
	for _, r := range results {
		if r.Limit != nil && slices.Contains([]string{policy.ReasonListed, "rate_limited"}, r.Reason) {
			return fmt.Sprintf("%s is limited to %s", cmp.Or(r.CountsFor, r.Owner), describeLimit(r.Limit))
		}
	}
	return ""
}

// around is what else there is to know of a source that does not get in: a customer
// says that he is dropped.
func around(r api.CheckResult) (lines []string) {
	if r.Verdict == "pass" {
		return nil
	}
	if s := r.Suspension; s != nil && r.Reason == policy.ReasonSuspended {
		lines = append(lines, s.Subject+" is suspended "+describeSuspension(*s))
	}
	for _, e := range r.Covering {
		if r.Prefix == nil || e.Prefix != *r.Prefix {
			lines = append(lines, "also covered by "+whose(e.Prefix, e.Owner)+": "+e.Reason)
		}
	}
	for _, e := range r.Nearest {
		line := fmt.Sprintf("near %s, in the same /%d", whose(e.Prefix, e.Owner), e.Within.Bits())
		switch e.Reason {
		case policy.ReasonExpired:
			line += ", ended"
		case policy.ReasonSuspended:
			line += ", suspended"
		}
		lines = append(lines, line)
	}
	return lines
}

// again is the command that lets the one source that was asked about in again, if it
// stands on the list; else "".
func (c *call) again(results []api.CheckResult) string {
	if len(results) == 0 || c.flags.IsSet("file") {
		return ""
	}
	switch r := results[len(results)-1]; {
	case r.Verdict == "pass":
	case r.Reason == policy.ReasonExpired && r.Prefix != nil:
		return c.withSocket("xdpallow add " + r.Prefix.String() + " --for 90d")
	case r.Reason == policy.ReasonSuspended && r.Suspension != nil:
		if r.Suspension.Origin != "" {
			return api.InList(r.Suspension.Origin, "resume "+r.Suspension.Subject)
		}
		return c.withSocket("xdpallow resume " + r.Suspension.Subject)
	}
	return ""
}

func whose(prefix netip.Prefix, owner string) string {
	if owner == "" {
		return prefix.String()
	}
	return prefix.String() + " (" + owner + ")"
}

func explain(r api.CheckResult) string {
	text := r.Verdict + ", " + r.Reason
	switch {
	case r.Prefix == nil:
	case r.Reason == policy.ReasonExpired || r.Reason == policy.ReasonWrongService:
		text += " (" + strings.Join(short(r), ", ") + ")"
	default:
		text += " by " + whose(*r.Prefix, r.Owner)
	}
	if r.Verdict == "audit" {
		text += " (passes now, dropped under enforce)"
	}
	return text
}

// short is the entry that covers the source and falls short of listing it, and
// what it lacks.
func short(r api.CheckResult) []string {
	words := []string{r.Prefix.String()}
	if r.Owner != "" {
		words = append(words, r.Owner)
	}
	if r.Reason == policy.ReasonExpired {
		return append(words, "ended "+moment(r.Until))
	}
	return append(words, "only for "+strings.Join(r.Services, " and "))
}
