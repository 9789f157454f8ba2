// The policy that the tests of the program, of the headers and of the generator share.
package oracle

import "net/netip"

// Sample is a policy with an edge of every kind, under which every reason of scope
// can occur: services of both modes, entries in entries, and sources that are
// listed, suspended, expired and listed for something else.
func Sample(scope Scope) Policy {
	p := Policy{Services: []Service{
		{TCP: []uint16{8443, 443}, UDP: []uint16{8443}, Enforce: true, Scope: scope},
		{TCP: []uint16{9443, 4789}, Scope: scope}, // audit; a number that is a tunnel's too
		{TCP: []uint16{8080}, UDP: []uint16{5353, 6081}, Enforce: true, Scope: SYN},
	}}
	add := func(prefix string, e Entry) {
		e.Prefix = netip.MustParsePrefix(prefix)
		p.Entries = append(p.Entries, e)
	}
	add("198.18.5.0/24", Entry{})
	add("fd00:18:0:5::/64", Entry{})
	// In those: final, or looked past.
	add("198.18.5.0/26", Entry{Suspended: true})
	add("fd00:18:0:5:1::/80", Entry{Suspended: true})
	add("198.18.5.64/26", Entry{Expired: true, Suspended: true})
	add("fd00:18:0:5:2::/80", Entry{Expired: true, Suspended: true})
	add("198.18.5.8/30", Entry{Services: []int{2}})
	add("fd00:18:0:5:1::8/126", Entry{Services: []int{2}})
	add("198.18.5.128/25", Entry{Expired: true}) // only one bit longer
	add("fd00:18:0:5:8000::/65", Entry{Expired: true})
	// On their own.
	add("198.19.0.0/16", Entry{Expired: true})
	add("fd00:19::/32", Entry{Expired: true})
	add("198.19.7.1/32", Entry{Services: []int{1, 3}, Suspended: true})
	add("fd00:19::7/128", Entry{Services: []int{1, 3}, Suspended: true})
	add("198.20.0.0/24", Entry{Services: []int{2}})
	add("fd00:20::/48", Entry{Services: []int{3}})
	return p
}
