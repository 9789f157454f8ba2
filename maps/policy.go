package maps

import (
	"cmp"
	"fmt"

	"github.com/xdpallow/xdpallow/bpf"
)

// Scope is what is dropped from unlisted sources.
type Scope = bpf.XdpallowScope

// The scopes, from the narrowest to the widest.
const (
	ScopeSYN    = bpf.XdpallowScopeSCOPE_SYN    // openings
	ScopeStray  = bpf.XdpallowScopeSCOPE_STRAY  // and segments that belong to no socket
	ScopeStrict = bpf.XdpallowScopeSCOPE_STRICT // and all that could carry or hide one
)

// MaxServices is how many services a policy has room for.
const MaxServices = int(bpf.XdpallowLimitNR_SERVICES) - 1

// Service is one row of the policy. Its number is its place in Policy.Services,
// counted from 1.
type Service struct {
	TCP, UDP []uint16
	Enforce  bool // false is audit
	Scope    Scope

	// AuditUntil ends an audit, CLOCK_BOOTTIME in ns; 0 is never. The kernel keeps it.
	AuditUntil uint64
}

// Policy is everything that one generation decides by.
type Policy struct {
	Generation uint64
	Services   []Service
	Entries    []Entry // any order, each prefix once
}

func (p Policy) value() (*bpf.XdpallowPolicy, error) {
	if len(p.Services) > MaxServices {
		return nil, fmt.Errorf("%d services, there is room for %d", len(p.Services), MaxServices)
	}
	v := new(bpf.XdpallowPolicy)
	// Row 0 judges packets without a port: as strictly as any service does.
	v.Services[0].Refusal = bpf.XdpallowVerdictVERDICT_AUDIT
	for i, service := range p.Services {
		row := &v.Services[i+1]
		row.Refusal, row.Scope = bpf.XdpallowVerdictVERDICT_AUDIT, service.Scope
		if service.Enforce {
			row.Refusal = bpf.XdpallowVerdictVERDICT_DROP
			v.Services[0].Refusal = row.Refusal
		} else if row.AuditUntil = service.AuditUntil; row.AuditUntil != 0 {
			// The first that enforces again makes it enforce.
			v.Services[0].AuditUntil = min(row.AuditUntil, cmp.Or(v.Services[0].AuditUntil, row.AuditUntil))
		}
		v.Services[0].Scope = max(v.Services[0].Scope, service.Scope)
		for _, ports := range []struct {
			table   *[65536]uint8
			numbers []uint16
		}{{&v.Tcp, service.TCP}, {&v.Udp, service.UDP}} {
			for _, port := range ports.numbers {
				if other := ports.table[port]; other != 0 {
					return nil, fmt.Errorf("port %d is in services %d and %d", port, other, i+1)
				}
				ports.table[port] = uint8(i + 1)
			}
		}
	}
	return v, nil
}
