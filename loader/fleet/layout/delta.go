// This file is the small changes of a list. They stand in the manifest itself, so that a
// thousand hosts that hear of one removed customer have nothing to fetch.

package layout

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Delta is how a list differs from that of an earlier serial.
type Delta struct {
	From  uint64   `json:"from"`
	Lines []string `json:"lines"` // "-PREFIX", or "+" and a line of a list, in the order of prefixes
}

// NewDelta returns what leads from before to after, both sorted by policy.ComparePrefix, or nil
// where that is too long to stand in a manifest.
func NewDelta(from uint64, before, after []policy.Claim) *Delta {
	d := &Delta{From: from, Lines: []string{}}
	size := 0
	fits := func(line string) bool {
		d.Lines = append(d.Lines, line)
		size += len(line) + len(`"",`)
		return size <= maxDelta
	}
	for len(before)+len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && policy.ComparePrefix(before[0].Prefix, after[0].Prefix) < 0:
			if !fits("-" + before[0].Prefix.String()) {
				return nil
			}
			before = before[1:]
		case len(before) == 0 || before[0].Prefix != after[0].Prefix:
			if !fits("+" + policy.FormatLine(after[0])) {
				return nil
			}
			after = after[1:]
		default:
			if !policy.SameWords(before[0], after[0]) && !fits("+"+policy.FormatLine(after[0])) {
				return nil
			}
			before, after = before[1:], after[1:]
		}
	}
	return d
}

// check says what is wrong in d; nil is no delta.
func (d *Delta) check() error {
	if d == nil {
		return nil
	}
	_, err := d.Edit("")
	return err
}

// Edit returns what d changes, as claims of origin.
func (d *Delta) Edit(origin policy.Origin) (edit policy.Edit, err error) {
	size, last := 0, netip.Prefix{}
	for _, line := range d.Lines {
		size += len(line) + len(`"",`)
		if line == "" || size > maxDelta {
			return edit, fmt.Errorf("delta is over %d bytes, or has an empty line", maxDelta)
		}
		claim, err := parseLine(line[1:])
		if err != nil {
			return edit, fmt.Errorf("delta: %w", err)
		}
		if last.IsValid() && policy.ComparePrefix(last, claim.Prefix) >= 0 {
			return edit, fmt.Errorf("delta: %v comes after %v", claim.Prefix, last)
		}
		last, claim.Origin = claim.Prefix, origin
		switch {
		case line[0] == '+':
			edit.Put = append(edit.Put, claim)
		case line[0] == '-' && line[1:] == claim.Prefix.String():
			edit.Remove = append(edit.Remove, claim.Key())
		default:
			return edit, fmt.Errorf("delta: %.64q is neither added nor removed", line)
		}
	}
	return edit, nil
}

// apply returns text, the lines of a list, as d makes them.
func (d *Delta) apply(text []byte) (after []byte, err error) {
	after = make([]byte, 0, len(text)+maxDelta)
	for _, change := range d.Lines {
		claim, err := parseLine(change[1:])
		if err != nil {
			return nil, err
		}
		at, found := search(text, claim.Prefix)
		if after, text = append(after, text[:at]...), text[at:]; found {
			_, text = cutLine(text)
		} else if change[0] == '-' {
			return nil, fmt.Errorf("delta removes %v, which is not there", claim.Prefix)
		}
		if change[0] == '+' {
			after = append(append(after, change[1:]...), '\n')
		}
	}
	return append(after, text...), nil
}

// parseLine reads one canonical line: what policy.AppendLine writes, and nothing else.
func parseLine(line string) (policy.Claim, error) {
	claims, _, err := policy.ParseStored("", "", strings.NewReader(line))
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		return policy.Claim{}, errors.New(input.What)
	}
	if err != nil {
		return policy.Claim{}, err
	}
	if len(claims) != 1 || policy.FormatLine(claims[0]) != line {
		return policy.Claim{}, errors.New("is not a line as this program writes it: " + policy.Printable(fmt.Sprintf("%.64q", line)))
	}
	claims[0].Where = ""
	return claims[0], nil
}
