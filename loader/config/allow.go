// This file reads the entries of allow: lines of the list grammar, or the same as keys.

package config

import (
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// allow reads the entries. As in a list file, a prefix may be there twice only with the same
// words, and is then one claim.
func (r *reader) allow(n *yaml.Node) (claims []policy.Claim, warnings []string) {
	seen := map[netip.Prefix]policy.Claim{}
	for _, item := range r.list(n, "allow") {
		claim, warning, ok := r.entry(item)
		if !ok {
			continue
		}
		claim.Origin, claim.Where = policy.OriginConfig, r.where(item.Line)
		if warning != "" {
			warnings = append(warnings, claim.Where+": "+warning)
		}
		if other, found := seen[claim.Prefix]; found {
			if !policy.SameWords(claim, other) {
				r.fail(item, "", "%s is also in %s, with other words", claim.Prefix, other.Where)
			}
			continue
		}
		seen[claim.Prefix] = claim
		claims = append(claims, claim)
	}
	return claims, warnings
}

func (r *reader) entry(n *yaml.Node) (c policy.Claim, warning string, ok bool) {
	if n.Kind == yaml.MappingNode {
		return r.entryOfKeys(n)
	}
	text, ok := r.text(n, "allow")
	if !ok {
		return c, "", false
	}
	c, warning, err := policy.ParseLine(text)
	if !r.check(n, err) {
		return c, "", false
	}
	if !c.Prefix.IsValid() {
		r.fail(n, "", "an entry without a prefix")
	}
	return c, warning, c.Prefix.IsValid()
}

func (r *reader) entryOfKeys(n *yaml.Node) (c policy.Claim, warning string, ok bool) {
	before := r.count
	parsed := func(n *yaml.Node, key string, parse func(string) error) {
		if text, ok := r.text(n, key); ok {
			r.check(n, parse(text))
		}
	}
	named := false
	services := func(n *yaml.Node) {
		if named {
			r.fail(n, "", "service is given twice")
		}
		named = true
		c.Services = r.serviceNames(n)
	}
	r.mapping(n, "an entry", []key{
		{"prefix", func(n *yaml.Node) {
			parsed(n, "prefix", func(s string) (err error) {
				c.Prefix, warning, err = policy.ParsePrefix(s)
				return err
			})
		}},
		{"owner", func(n *yaml.Node) {
			parsed(n, "owner", func(s string) error { c.Owner = s; return policy.ParseName("owner", s) })
		}},
		{"service", services},
		{"services", services},
		{"until", func(n *yaml.Node) {
			parsed(n, "until", func(s string) (err error) { c.Until, err = policy.ParseUntil(s); return err })
		}},
		{"note", func(n *yaml.Node) {
			parsed(n, "note", func(s string) error { c.Note = s; return policy.ParseNote(s) })
		}},
	})
	if r.count == before && !c.Prefix.IsValid() {
		r.fail(n, "", "an entry without a prefix")
	}
	return c, warning, r.count == before
}

// serviceNames reads "api,web" or [api, web]. An empty list is refused: it would mean every
// service, and nobody who writes the key means that.
func (r *reader) serviceNames(n *yaml.Node) []string {
	var names []string
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			if name, ok := r.text(item, "service"); ok {
				names = append(names, name)
			}
		}
	} else if text, ok := r.text(n, "service"); ok {
		for name := range strings.SplitSeq(text, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	} else {
		return nil
	}
	if len(names) == 0 {
		r.fail(n, "", "service is empty: leave the key out for every service")
		return nil
	}
	names, err := policy.ParseServices(names)
	r.check(n, err)
	return names
}

func (r *reader) where(line int) string { return r.path + ":" + strconv.Itoa(line) }
