// This file walks the nodes of a YAML document. The strict decoding of the yaml package stops
// at the first wrong type or key, and speaks of Go types. Here every mistake is reported with
// its line and in the words of the file, and what is easy to get wrong in YAML (anchors, a
// second document, a null) is refused.

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// maxMistakes is how many mistakes are reported, as for list files.
const maxMistakes = 20

// reader reads one file.
type reader struct {
	path  string
	dir   string
	looks bool // whether files are there that must be
	errs  []error
	count int // of all mistakes, reported or not

	wanted []wanted          // by origins: services may stand further down
	serves map[string]string // service → host
}

// key is a key of a mapping, and what takes its value.
type key struct {
	name string
	take func(value *yaml.Node)
}

// document parses text and returns its top node; nil when there is none.
func (r *reader) document(text []byte) *yaml.Node {
	in := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := in.Decode(&document); err != nil {
		if encoding := policy.CheckUTF8(r.path, text); encoding != nil {
			r.add(encoding)
		} else if !errors.Is(err, io.EOF) {
			r.syntax(err)
		}
		return nil
	}
	if err := in.Decode(&second); err == nil {
		r.fail(&second, "", "a second document: one file is one config")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if root := document.Content[0]; r.literal(root) && !null(root) {
		return root
	}
	return nil
}

var syntaxLine = regexp.MustCompile(`^(?:line (\d+): )?(?s:(.*))$`)

// syntax reports an error of the yaml package, "yaml: line 3: did not find …".
func (r *reader) syntax(err error) {
	parts := syntaxLine.FindStringSubmatch(strings.TrimPrefix(err.Error(), "yaml: "))
	where := r.path
	if parts[1] != "" {
		where += ":" + parts[1]
	}
	r.add(&policy.InputError{Where: where, What: "is not YAML: " + parts[2], Hint: "xdpallow assets config"})
}

func (r *reader) add(err error) {
	r.count++
	if r.count <= maxMistakes {
		r.errs = append(r.errs, err)
	}
}

func (r *reader) fail(n *yaml.Node, hint, format string, args ...any) {
	r.add(&policy.InputError{Where: r.where(n.Line), What: fmt.Sprintf(format, args...), Hint: hint})
}

// check reports err, a *policy.InputError without a place, with the place of n. It returns
// whether err is nil.
func (r *reader) check(n *yaml.Node, err error) bool {
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		r.fail(n, input.Hint, "%s", input.What)
	} else if err != nil {
		r.fail(n, "", "%v", err)
	}
	return err == nil
}

// err returns the mistakes joined, or nil.
func (r *reader) err() error {
	if more := r.count - len(r.errs); more > 0 {
		r.errs = append(r.errs, &policy.InputError{Where: r.path, What: fmt.Sprintf("and %d more", more)})
	}
	if len(r.errs) == 1 {
		return r.errs[0]
	}
	return errors.Join(r.errs...)
}

// mapping calls take of each key in n with its value.
func (r *reader) mapping(n *yaml.Node, what string, keys []key) {
	r.each(n, what, func(name, value *yaml.Node) {
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == name.Value })
		if i >= 0 {
			keys[i].take(value)
			return
		}
		var known []string
		for _, k := range keys {
			known = append(known, k.name)
		}
		r.fail(name, "", "unknown key %.64q: the keys of %s are %s", name.Value, what, strings.Join(known, ", "))
	})
}

// each calls take for each key of a mapping, once. An empty mapping need not be written:
// "services:" is no service.
func (r *reader) each(n *yaml.Node, what string, take func(name, value *yaml.Node)) {
	if !r.literal(n) || null(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "", "%s is %s, not keys with values", what, kind(n))
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if !r.literal(name) || !r.literal(value) {
			continue
		}
		if name.Kind != yaml.ScalarNode {
			r.fail(name, "", "a key of %s is %s, not a word", what, kind(name))
			continue
		}
		if line, found := lines[name.Value]; found {
			r.fail(name, "", "key %.64q is also in line %d", name.Value, line)
			continue
		}
		lines[name.Value] = name.Line
		take(name, value)
	}
}

// list returns the items of a list. An empty list need not be written.
func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	if null(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "", "%s is %s, not a list", what, kind(n))
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.Content), func(item *yaml.Node) bool { return !r.literal(item) })
}

// text returns a value that is a text. A date counts as text: it needs no quotes.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" {
		mend := ""
		if n.Kind == yaml.ScalarNode && !null(n) {
			mend = fmt.Sprintf(": write %.64q", n.Value)
		}
		r.fail(n, "", "%s is %s, not a text%s", what, kind(n), mend)
		return "", false
	}
	return n.Value, true
}

// literal refuses anchors and aliases: whoever reads a line should know what it means without
// another line.
func (r *reader) literal(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.fail(n, "", "anchors and aliases are not read here")
		return false
	}
	return true
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kind returns what n is, in words for an operator.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	}
	return "a text"
}
