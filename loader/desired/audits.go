// This file keeps the audits of services that end by themselves. They are laid over what
// flags and files say of a service, and change nothing of that. Boot is the present by
// CLOCK_BOOTTIME.

package desired

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// AuditEnd is the end of the audit of one service.
type AuditEnd struct {
	Boottime uint64 `json:"boottime"` // CLOCK_BOOTTIME, ns
	BootID   string `json:"boot_id"`
}

// Audits are by service. Like all that is desired they are not changed once they stand.
// One that is over stays until the kernel was told to enforce: it has the end, too.
type Audits map[string]AuditEnd

// Until is when s enforces again by itself, in the clock of the kernel; 0 is never,
// or now.
func (a Audits) Until(s policy.Service) uint64 {
	if s.Mode == policy.Audit {
		return 0
	}
	return a[s.Name].Boottime
}

// Auditing reports whether s drops nothing at boot.
func (d State) Auditing(s policy.Service, boot time.Duration) bool {
	return s.Mode == policy.Audit || d.Audits.Until(s) > uint64(boot)
}

// modesAt are the services of d, those in audit at boot among them.
func (d State) modesAt(boot time.Duration) []policy.Service {
	services := slices.Clone(d.Policy.Services)
	for i, s := range services {
		if d.Auditing(s, boot) {
			services[i].Mode = policy.Audit
		}
	}
	return services
}

// opens are the ports that next, whose services are others than those of d, opens for good
// or for as long as an audit lasts: a port may have moved to a service that is in audit.
func (d State) opens(next State, boot time.Duration) []policy.Opening {
	byPort := func(a, b policy.Opening) int { return policy.ComparePort(a.Port, b.Port) }
	forGood := policy.Openings(d.Policy.Services, next.Policy.Services)
	opens := forGood
	for _, o := range policy.Openings(d.modesAt(boot), next.modesAt(boot)) {
		if _, known := slices.BinarySearchFunc(forGood, o, byPort); !known {
			opens = append(opens, o)
		}
	}
	slices.SortFunc(opens, byPort)
	return opens
}

// WithoutOpening are the audits of d but for those of services to which services, the next
// ones, give a port that is shut now, and a line for each that is left out. Without such,
// both are nil.
func (d State) WithoutOpening(services []policy.Service, boot time.Duration) (kept Audits, ended []string) {
	next := d
	next.Policy.Services = services
	given := map[string][]policy.Port{}
	for _, o := range policy.Openings(d.modesAt(boot), next.modesAt(boot)) {
		for _, s := range services {
			if o.Why == policy.WhyAudit && s.Mode != policy.Audit && s.Protects(o.Port) {
				given[s.Name] = append(given[s.Name], o.Port)
			}
		}
	}
	if len(given) == 0 {
		return nil, nil
	}
	kept = maps.Clone(d.Audits)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		delete(kept, name)
		are := "is its port"
		if len(given[name]) > 1 {
			are = "are its ports"
		}
		var ports []string
		for _, r := range policy.PortRanges(given[name]) {
			ports = append(ports, r.String())
		}
		ended = append(ended, fmt.Sprintf("%s: its audit was ended, for %s %s now and would open to everybody", name, strings.Join(ports, ", "), are))
	}
	return kept, ended
}

// Passing has a line for each service in audit: it drops nothing, so that subject, who was
// suspended, gets in.
func (d State) Passing(subject string, boot time.Duration) (lines []string) {
	for _, s := range d.Policy.Services {
		if d.Auditing(s, boot) {
			lines = append(lines, fmt.Sprintf("%s still gets in while service %s is in audit", subject, s.Name))
		}
	}
	return lines
}

// SuspendedPassing are lines on who is suspended and gets in until an audit ends.
func (d State) SuspendedPassing(end time.Time) []string {
	until := end.Format(time.RFC3339)
	var all []store.Suspension
	for origin, s := range d.EverySuspension {
		if _, by, _ := d.SuspensionOf(s.Subject); by == origin { // and not a second time
			all = append(all, s)
		}
	}
	return Summed(nil, all, func(s store.Suspension) string {
		return fmt.Sprintf("%s (suspended) gets in until %s", s.Subject, until)
	}, func(first store.Suspension, n int) string {
		return fmt.Sprintf("%d who are suspended get in until %s, as %s", n, until, first.Subject)
	})
}

// toldSingly is how many of a kind are told one by one.
const toldSingly = 3

// Summed adds a line for each of some to lines, or one for all when they are many.
func Summed[T any](lines []string, some []T, one func(T) string, many func(first T, n int) string) []string {
	if len(some) > toldSingly {
		return append(lines, many(some[0], len(some)))
	}
	for _, each := range some {
		lines = append(lines, one(each))
	}
	return lines
}

// Marshal is a for the store; nil for none.
func (a Audits) Marshal() []byte {
	if len(a) == 0 {
		return nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		panic(err) // a map of strings to numbers always is JSON
	}
	return text
}
