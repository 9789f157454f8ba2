// This file reads origins: lists that are kept elsewhere.

package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// kinds are the keys that say where an origin is kept.
var kinds = []string{"etcd", "url", "dns"}

// atLeast is the shortest time between two looks at a page: its server is somebody else's.
const atLeast = 30 * time.Second

// origins reads the origins, in the order of the file.
func (r *reader) origins(n *yaml.Node) (all []source.Settings) {
	r.each(n, "origins", func(name, value *yaml.Node) {
		if !r.check(name, policy.ParseName("origin", name.Value)) {
			return
		}
		before := r.count
		some := r.origin(name, value)
		if r.count == before {
			all = append(all, some...)
		}
	})
	return all
}

// origin reads one; it is several where it has several lists.
func (r *reader) origin(name, n *yaml.Node) []source.Settings {
	what := "origin " + name.Value
	if !r.literal(n) {
		return nil
	}
	before := r.count
	kind := r.kind(name, n, what)
	if kind == "etcd" {
		return r.etcd(name, n, what)
	}
	s := r.page(name, n, what, kind)
	if r.count == before {
		r.complete(name, s)
	}
	return []source.Settings{s}
}

// page reads an origin that is a page, or host names.
func (r *reader) page(name, n *yaml.Node, what, kind string) source.Settings {
	s := source.Settings{Name: name.Value}
	common := []key{
		{"owner", func(n *yaml.Node) { s.Owner = r.originOwner(n, kind) }},
		{"services", func(n *yaml.Node) {
			s.Services = r.serviceNames(n)
			r.wanted = append(r.wanted, wanted{n, what, s.Services})
		}},
		{"max_entries", func(n *yaml.Node) { s.Limits.Entries = int(r.number(n, "max_entries", 2_000_000)) }},
		{"private", func(n *yaml.Node) { s.Limits.Private = r.yes(n, "private") }},
		{"stale", func(n *yaml.Node) { s.Stale = r.duration(n, "stale") }},
	}
	switch kind {
	case "url":
		s.Limits, s.Every = source.URLLimits, source.Every
		r.mapping(n, what, append(r.pageKeys(&s, n), common...))
	case "dns":
		s.Limits, s.Hold, s.Stale = source.DNSLimits, source.Hold, source.StaleDNS
		r.mapping(n, what, append([]key{
			{"dns", func(n *yaml.Node) { s.Names = r.hosts(n) }},
			{"hold", func(n *yaml.Node) { s.Hold = r.duration(n, "hold") }},
		}, common...))
		s.Every = source.EveryDNS
	}
	return s
}

// kind returns which of kinds n has; "" where that is a mistake.
func (r *reader) kind(name, n *yaml.Node, what string) (kind string) {
	if n.Kind != yaml.MappingNode {
		r.fail(name, "", "%s needs one of %s", what, strings.Join(kinds, ", "))
		return ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch found := n.Content[i]; {
		case !slices.Contains(kinds, found.Value) || found.Value == kind:
		case kind != "":
			r.fail(found, "", "%s has both %s and %s: make two origins of it", what, kind, found.Value)
			return ""
		default:
			kind = found.Value
		}
	}
	if kind == "" {
		r.fail(name, "", "%s has none of %s", what, strings.Join(kinds, ", "))
	}
	return kind
}

// pageKeys returns the keys of a page. n is the origin that they are of.
func (r *reader) pageKeys(s *source.Settings, n *yaml.Node) []key {
	var rule source.Rule
	format := "text"
	ofJSON := func(take func(*yaml.Node)) func(*yaml.Node) {
		return func(value *yaml.Node) {
			take(value)
			if valueOf(n, "format") != "json" {
				r.fail(value, "format: json", "under and where are of format: json")
			}
		}
	}
	return []key{
		{"url", func(n *yaml.Node) {
			if text, ok := r.text(n, "url"); ok && r.check(n, source.CheckURL(text)) {
				s.URL = text
			}
		}},
		{"ca", func(n *yaml.Node) { s.CA = r.file(n, "ca") }},
		{"every", func(n *yaml.Node) {
			if s.Every = r.duration(n, "every"); s.Every > 0 && s.Every < atLeast {
				r.fail(n, "", "every %s is less than %s", policy.FormatDuration(s.Every), policy.FormatDuration(atLeast))
			}
		}},
		{"format", func(n *yaml.Node) {
			if format = r.choice(n, "format", "text", "json"); format == "json" {
				s.JSON = &rule
			}
		}},
		{"under", ofJSON(func(n *yaml.Node) { rule.Under = r.under(n) })},
		{"where", ofJSON(func(n *yaml.Node) { rule.Where = r.said(n) })},
		{"max_addresses", func(n *yaml.Node) { s.Limits.Addresses = uint64(r.number(n, "max_addresses", 1<<62)) }},
		{"widest", func(n *yaml.Node) { r.widest(n, &s.Limits) }},
	}
}

func (r *reader) widest(n *yaml.Node, limits *source.Limits) {
	r.mapping(n, "widest", []key{
		{"ipv4", func(n *yaml.Node) { limits.Widest4 = r.length(n, netip.IPv4Unspecified()) }},
		{"ipv6", func(n *yaml.Node) { limits.Widest6 = r.length(n, netip.IPv6Unspecified()) }},
	})
}

// complete refuses settings that could not be followed as they say.
func (r *reader) complete(name *yaml.Node, s source.Settings) {
	switch {
	case s.Owner == "":
		r.fail(name, "", "origin %s has no owner", s.Name)
	case s.URL == "" && len(s.Names) == 0:
		r.fail(name, "", "origin %s has no name in dns", s.Name)
	case s.JSON != nil && s.Owner == source.AnyOwner:
		r.fail(name, "", "origin %s: a JSON document names no owners", s.Name)
	case s.Stale > 0 && s.Stale < 4*s.Every:
		r.fail(name, "", "origin %s: stale %s is less than four looks of %s: its entries could end between two of them",
			s.Name, policy.FormatDuration(s.Stale), policy.FormatDuration(s.Every))
	}
}

// valueOf returns the text of a key of a mapping, "" where there is none.
func valueOf(n *yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1].Value
		}
	}
	return ""
}

// wanted are the services that what, an origin, is for.
type wanted struct {
	n        *yaml.Node
	what     string
	services []string
}

// served refuses origins for services that are not there: nobody could ever come in by them. Without
// a service in the file they are those of the flags.
func (r *reader) served(services []policy.Service) {
	names := make([]string, 0, len(services))
	for _, s := range services {
		names = append(names, s.Name)
	}
	for _, w := range r.wanted {
		for _, name := range w.services {
			if len(names) > 0 && !slices.Contains(names, name) {
				r.fail(w.n, "", "%s is for service %s, which is not in services (%s)", w.what, name, strings.Join(names, ", "))
			}
		}
	}
}

func (r *reader) originOwner(n *yaml.Node, kind string) string {
	owner, ok := r.text(n, "owner")
	switch {
	case !ok:
		return ""
	case owner == source.AnyOwner && kind == "url":
		return owner
	case owner == source.AnyOwner:
		r.fail(n, "", "a host name names no owner: name him here")
		return ""
	}
	r.check(n, policy.ParseName("owner", owner))
	return owner
}

func (r *reader) hosts(n *yaml.Node) []string {
	var names []string
	for _, item := range r.list(n, "dns") {
		name, ok := r.text(item, "dns")
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if ok && r.check(item, source.CheckHost(name)) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// under reads "result.ipv4_cidrs", or a list of keys, for keys that hold a dot.
func (r *reader) under(n *yaml.Node) (keys []string) {
	if n.Kind != yaml.SequenceNode {
		text, _ := r.text(n, "under")
		keys = strings.Split(text, ".")
	}
	for _, item := range n.Content {
		if key, ok := r.text(item, "under"); ok {
			keys = append(keys, key)
		}
	}
	if slices.Contains(keys, "") {
		r.fail(n, "", "under is not KEY, KEY.KEY or [KEY, KEY]")
	}
	return keys
}

// said reads [service=S3, region=eu-west-1].
func (r *reader) said(n *yaml.Node) (all []source.Condition) {
	for _, item := range r.list(n, "where") {
		text, ok := r.text(item, "where")
		key, value, found := strings.Cut(text, "=")
		switch {
		case !ok:
		case !found || key == "":
			r.fail(item, "", "where %.64q is not KEY=VALUE", text)
		case slices.ContainsFunc(all, func(s source.Condition) bool { return s.Key == key }):
			r.fail(item, "", "where has %.64q twice, and nothing is both", key)
		default:
			all = append(all, source.Condition{Key: key, Value: value})
		}
	}
	return all
}

// length reads a prefix length of the family of any, /16 or 16.
func (r *reader) length(n *yaml.Node, any netip.Addr) int {
	length, err := strconv.Atoi(strings.TrimPrefix(n.Value, "/"))
	if n.Kind != yaml.ScalarNode || err != nil || length < 1 || length > any.BitLen() {
		r.fail(n, "", "widest %.64q is not a length from /1 to /%d", n.Value, any.BitLen())
	}
	return length
}

// number reads a number from 1 to most.
func (r *reader) number(n *yaml.Node, what string, most int64) int64 {
	number, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 10, 64)
	if n.Kind != yaml.ScalarNode || err != nil || number < 1 || number > most {
		r.fail(n, "", "%s %.64q is not a number from 1 to %d", what, n.Value, most)
	}
	return number
}

func (r *reader) yes(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		r.fail(n, "", "%s %.64q is not true or false", what, n.Value)
	}
	return n.Value == "true"
}
