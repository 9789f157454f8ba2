// This file finds the prefixes in a JSON document. Providers publish their ranges in as many
// shapes as there are providers; one rule reads them all, so no shape has a parser of its own.

package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Rule says which strings of a JSON document count: those that are a prefix or an address, lie
// below the key path Under, and lie within objects that say all of Where. Without Under and
// Where, all of them.
type Rule struct {
	Under []string    // keys from the top; lists between them do not count
	Where []Condition // of several objects around a string that have Key, the nearest decides
}

// Condition is a key of an object and its value: a text, a number, true or false.
type Condition struct{ Key, Value string }

func (r Rule) String() string {
	var parts []string
	if len(r.Under) > 0 {
		parts = append(parts, "below "+strings.Join(r.Under, "."))
	}
	for _, said := range r.Where {
		parts = append(parts, "where "+said.Key+"="+said.Value)
	}
	return strings.Join(parts, ", ")
}

// deepest bounds the nesting of a document: each level is a call, and a hostile document could
// exhaust the stack.
const deepest = 64

// parse returns a claim for each prefix of the document that the rule selects, in its order, each once.
// No prefix is an error: a document of another shape must not look like an empty list. A
// prefix in a form that no list may have is an error, too. Errors are *policy.InputError.
func (r Rule) parse(name string, origin policy.Origin, text []byte) (claims []policy.Claim, err error) {
	d := document{rule: r, text: text, tokens: json.NewDecoder(bytes.NewReader(text))}
	d.tokens.UseNumber()
	found, _, err := d.value(path{rest: r.Under}, 0)
	if err == nil {
		if _, more := d.tokens.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("is not one JSON document: something follows it")
		}
	}
	if err != nil {
		return nil, &policy.InputError{Where: d.where(name, d.tokens.InputOffset()), What: err.Error()}
	}
	seen := map[netip.Prefix]bool{}
	for _, f := range found {
		if slices.Contains(f.open, true) { // no object around it has the key
			continue
		}
		prefix, _, err := policy.ParsePrefix(f.text)
		if input, ok := errors.AsType[*policy.InputError](err); ok {
			return nil, &policy.InputError{Where: d.where(name, f.end), What: input.What, Hint: input.Hint}
		}
		if !seen[prefix] {
			seen[prefix] = true
			claims = append(claims, policy.Claim{Prefix: prefix, Origin: origin, Where: d.where(name, f.end)})
		}
	}
	if len(claims) == 0 {
		what := "has no prefix"
		if rule := r.String(); rule != "" {
			what += " " + rule
		}
		return nil, &policy.InputError{Where: name, What: what}
	}
	return claims, nil
}

// document is read token by token: an object may say what it is after its prefixes.
type document struct {
	rule   Rule
	text   []byte
	tokens *json.Decoder

	lines  int   // line ends before offset
	offset int64 // up to which they were counted
}

// found is a string that the rule selects, unless an object around it says otherwise.
type found struct {
	text string
	end  int64  // its offset in the document
	open []bool // by index into Rule.Where: no object around it has had the key yet
}

// path is where a value stands beside the key path Rule.Under.
type path struct {
	rest   []string // of the key path; empty: it leads here, and what lies below is selected
	beside bool     // the way here left the key path
}

func (p path) selected() bool { return len(p.rest) == 0 && !p.beside }

// to is the path of what key leads to.
func (p path) to(key string) path {
	switch {
	case len(p.rest) == 0:
		return p
	case key == p.rest[0]:
		p.rest = p.rest[1:]
		return p
	}
	return path{beside: true}
}

// value reads one value. plain is it as a Condition has it; nil for objects, lists and null.
func (d *document) value(at path, depth int) (all []found, plain *string, err error) {
	if depth > deepest {
		return nil, nil, fmt.Errorf("is nested deeper than %d", deepest)
	}
	token, err := d.tokens.Token()
	if err != nil {
		return nil, nil, notJSON(err)
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			all, err = d.object(at, depth)
		} else {
			all, err = d.list(at, depth)
		}
		return all, nil, err
	case string:
		if at.selected() && isSource(token) {
			open := slices.Repeat([]bool{true}, len(d.rule.Where))
			all = []found{{text: token, end: d.tokens.InputOffset(), open: open}}
		}
		return all, &token, nil
	case nil:
		return nil, nil, nil
	}
	text := fmt.Sprint(token) // a number, true, false
	return nil, &text, nil
}

func (d *document) list(at path, depth int) (all []found, err error) {
	for d.tokens.More() {
		some, _, err := d.value(at, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	_, err = d.tokens.Token()
	return all, notJSON(err)
}

func (d *document) object(at path, depth int) (all []found, err error) {
	says := map[string]string{}
	for d.tokens.More() {
		token, err := d.tokens.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		key := token.(string)
		some, plain, err := d.value(at.to(key), depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if plain != nil {
			says[key] = *plain
		}
	}
	if _, err := d.tokens.Token(); err != nil {
		return nil, notJSON(err)
	}
	return slices.DeleteFunc(all, func(f found) bool {
		for i, want := range d.rule.Where {
			if value, has := says[want.Key]; has && f.open[i] {
				if value != want.Value {
					return true
				}
				f.open[i] = false
			}
		}
		return false
	}), nil
}

// isSource reports whether s is a prefix or an address, or one in the form of another tool. The
// latter is refused later, by name: left out, it would be missing from the list unseen.
func isSource(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, _, err := policy.ParsePrefix(s)
	input, ok := errors.AsType[*policy.InputError](err)
	if !ok || input.Hint == "" {
		return false
	}
	return !slices.ContainsFunc(strings.Fields(input.Hint), func(word string) bool {
		_, err := netip.ParsePrefix(word)
		return err != nil
	})
}

// where is "name:LINE" of an offset. Offsets come in rising order.
func (d *document) where(name string, offset int64) string {
	if offset > d.offset {
		d.lines += bytes.Count(d.text[d.offset:offset], []byte("\n"))
		d.offset = offset
	}
	return fmt.Sprintf("%s:%d", name, d.lines+1)
}

// notJSON is err in words for an operator.
func notJSON(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("is not JSON: it ends too early")
	}
	return fmt.Errorf("is not JSON: %w", err)
}
