// This file reads who may enrol, and from where.

package config

import (
	"net/netip"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// mostEnrolled bounds addresses: who needs more is better listed.
const mostEnrolled = 1000

// enrol reads the limits of each owner; nil where there is none. An owner with a mistake is left out.
func (r *reader) enrol(n *yaml.Node) enrol.Settings {
	var all enrol.Settings
	r.each(n, "enrol", func(name, value *yaml.Node) {
		if !r.check(name, policy.ParseName("owner", name.Value)) {
			return
		}
		if name.Value == enrol.Authorities {
			r.fail(name, "", "nobody can enrol as %[1]s: clients/%[1]s.pem has the certificates of authorities, who may name anybody", enrol.Authorities)
			return
		}
		what := "enrol " + name.Value
		var l enrol.Limits
		before := r.count
		r.mapping(value, what, []key{
			{"for", func(n *yaml.Node) { l.For = r.duration(n, "for") }},
			{"addresses", func(n *yaml.Node) { l.Addresses = int(r.number(n, "addresses", mostEnrolled)) }},
			{"within", func(n *yaml.Node) { l.Within = r.within(n) }},
			{"services", func(n *yaml.Node) {
				l.Services = r.serviceNames(n)
				r.wanted = append(r.wanted, wanted{n, what, l.Services})
			}},
		})
		switch {
		case r.count > before:
			return
		case l.For == 0:
			r.fail(name, "", "%s does not say for how long, as for: 1h", what)
			return
		case l.Addresses == 0:
			r.fail(name, "", "%s does not say how many, as addresses: 4", what)
			return
		}
		if all == nil {
			all = enrol.Settings{}
		}
		all[name.Value] = l
	})
	return all
}

// within reads networks; an empty list would be nobody's, and is a mistake.
func (r *reader) within(n *yaml.Node) (networks []netip.Prefix) {
	items := r.list(n, "within")
	for _, item := range items {
		text, ok := r.text(item, "within")
		if !ok {
			continue
		}
		p, _, err := policy.ParsePrefix(text)
		switch {
		case !r.check(item, err):
		case source.Private(p):
			r.fail(item, "", "within %s is private or reserved, from where nobody may enrol", p)
		case p.Addr().Is6() && p.Bits() > 64:
			r.fail(item, "", "within %s is longer than the /64 that is enrolled", p)
		default:
			networks = append(networks, p)
		}
	}
	if len(items) == 0 {
		r.fail(n, "", "within is empty: leave the key out for everywhere")
	}
	return networks
}
