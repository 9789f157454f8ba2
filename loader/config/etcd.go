// This file reads origins that are lists of a fleet, kept in etcd.

package config

import (
	"cmp"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// mainList is the list that is followed unless lists names others.
const mainList = "main"

// etcd reads an origin that is kept in etcd: one for each of its lists.
func (r *reader) etcd(name, n *yaml.Node, what string) (all []source.Settings) {
	s := source.Settings{Name: name.Value, Owner: source.AnyOwner, Limits: source.EtcdLimits, Every: source.EveryEtcd}
	at := source.Etcd{Fleet: s.Name}
	lists := []string{mainList}
	r.mapping(n, what, []key{
		{"etcd", func(n *yaml.Node) { at.Endpoints = r.endpoints(n) }},
		{"ca", func(n *yaml.Node) { at.CA = r.readable(n, "ca") }},
		{"cert", func(n *yaml.Node) { at.Cert = r.readable(n, "cert") }},
		{"key", func(n *yaml.Node) { at.Key = r.readable(n, "key") }},
		{"group", func(n *yaml.Node) { at.Group = r.name(n, "group") }},
		{"fleet", func(n *yaml.Node) { at.Fleet = r.name(n, "fleet") }},
		{"lists", func(n *yaml.Node) {
			lists = nil
			for _, item := range r.list(n, "lists") {
				lists = append(lists, r.name(item, "list"))
			}
			if slices.Sort(lists); len(lists) == 0 || len(slices.Compact(slices.Clone(lists))) < len(lists) {
				r.fail(n, "", "lists is not a list of names, each once")
			}
		}},
		{"max_entries", func(n *yaml.Node) { s.Limits.Entries = int(r.number(n, "max_entries", 2_000_000)) }},
		{"widest", func(n *yaml.Node) { r.widest(n, &s.Limits) }},
	})
	switch secret := slices.ContainsFunc(at.Endpoints, source.Secret); {
	case len(at.Endpoints) == 0:
		r.fail(name, "", "%s has no endpoint in etcd", what)
	case secret && cmp.Or(at.Cert, at.Key) == "":
		r.fail(name, "", "%s has no cert and no key: by them etcd knows this host", what)
	case (at.Cert == "") != (at.Key == ""):
		r.fail(name, "", "%s needs cert and key, and has one of them", what)
	}
	for _, list := range lists {
		one := at
		one.List = list
		s.Etcd = &one
		all = append(all, s)
	}
	return all
}

func (r *reader) endpoints(n *yaml.Node) (endpoints []string) {
	for _, item := range r.list(n, "etcd") {
		if text, ok := r.text(item, "etcd"); ok && r.check(item, source.CheckEndpoint(text)) {
			endpoints = append(endpoints, text)
		}
	}
	return endpoints
}

// name reads a name of the kind that owners have.
func (r *reader) name(n *yaml.Node, what string) string {
	text, ok := r.text(n, what)
	if !ok || !r.check(n, policy.ParseName(what, text)) {
		return ""
	}
	return text
}

// readable reads the path of a file that must be there: without it the list would never come,
// and nobody would see why before it is needed.
func (r *reader) readable(n *yaml.Node, key string) string {
	path := r.file(n, key)
	if path == "" || !r.looks {
		return path
	}
	file, err := os.Open(path)
	if err != nil {
		r.fail(n, "", "%s cannot be read: %v", key, err)
		return path
	}
	file.Close()
	return path
}
