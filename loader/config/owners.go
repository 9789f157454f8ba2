// This file reads what stands about owners: who has agreed to be probed.

package config

import (
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Probe is what a probe of an owner needs to know, and no entry says.
type Probe struct {
	Allowed []string          // owners who have agreed to be probed, sorted
	Hosts   map[string]string // service → the host that its clients ask for, in SNI and Host
}

func (r *reader) owners(n *yaml.Node) (allowed []string) {
	r.each(n, "owners", func(name, value *yaml.Node) {
		if !r.check(name, policy.ParseName("owner", name.Value)) {
			return
		}
		r.mapping(value, "owner "+name.Value, []key{
			{"probe", func(n *yaml.Node) {
				if r.choice(n, "probe", "allowed") != "" {
					allowed = append(allowed, name.Value)
				}
			}},
		})
	})
	slices.Sort(allowed)
	return allowed
}

// host reads the name that clients of a service ask for.
func (r *reader) host(n *yaml.Node, service string) {
	text, ok := r.text(n, "host")
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if _, err := netip.ParseAddr(name); err == nil {
		r.fail(n, "", "host %s is an address: leave it out where clients ask for no name", name)
		return
	}
	if ok && r.check(n, source.CheckHost(name)) {
		if r.serves == nil {
			r.serves = map[string]string{}
		}
		r.serves[service] = name
	}
}
