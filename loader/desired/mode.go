// This file says what mode makes of a state, and what it refuses.

package desired

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// longestAudit bounds --for: what lasts longer is meant to stay.
const longestAudit = 7 * 24 * time.Hour

// Mode returns the audits that r makes of those of d at boot, by CLOCK_BOOTTIME, and the
// services that r names. It refuses, as *policy.InputError or *policy.Refused, what cannot
// be read, and to start or end an audit that has no end: its hint is what forGood says.
func (d State) Mode(r api.ModeRequest, boot time.Duration, bootID string, forGood func(policy.Mode) string) (next Audits, named []policy.Service, err error) {
	if named, err = d.servicesNamed(r.Services); err != nil {
		return nil, nil, err
	}
	next = Audits{}
	maps.Copy(next, d.Audits)
	switch r.Mode {
	case policy.Audit:
		err = next.start(named, r, boot, bootID, forGood)
	case policy.Enforce:
		err = next.stop(named, forGood)
	default:
		err = &policy.InputError{What: fmt.Sprintf("mode %q is not enforce or audit", r.Mode), Hint: "xdpallow mode enforce"}
	}
	return next, named, err
}

// servicesNamed returns the services of these names, all when there is none.
func (d State) servicesNamed(names []string) ([]policy.Service, error) {
	if len(names) == 0 {
		return d.Policy.Services, nil
	}
	var named []policy.Service
	for _, name := range names {
		at := slices.IndexFunc(d.Policy.Services, func(s policy.Service) bool { return s.Name == name })
		if at < 0 {
			return nil, &policy.InputError{What: policy.NoService(name, d.Policy.Services), Hint: "xdpallow mode"}
		}
		named = append(named, d.Policy.Services[at])
	}
	return named, nil
}

func (a Audits) start(named []policy.Service, r api.ModeRequest, boot time.Duration, bootID string, forGood func(policy.Mode) string) error {
	lasts, err := policy.ParseDuration(r.For)
	if err != nil {
		return err
	}
	if lasts > longestAudit {
		return &policy.InputError{What: fmt.Sprintf("--for %s is too long: an audit lasts at most %s", r.For, policy.FormatDuration(longestAudit)), Hint: forGood(policy.Audit)}
	}
	end, any := uint64(boot+lasts), false
	for _, s := range named {
		if s.Mode == policy.Audit {
			if len(r.Services) > 0 {
				return &policy.Refused{What: fmt.Sprintf("service %s is in audit already, and without an end", s.Name), Hint: "xdpallow mode"}
			}
			continue
		}
		a[s.Name], any = AuditEnd{Boottime: end, BootID: bootID}, true
	}
	if !any {
		return &policy.Refused{What: "every service is in audit already, and without an end", Hint: "xdpallow mode"}
	}
	return nil
}

// stop ends audits that have an end. One that has none is not ours to end: the next start
// would bring it back.
func (a Audits) stop(named []policy.Service, forGood func(policy.Mode) string) error {
	for _, s := range named {
		if s.Mode == policy.Audit {
			return &policy.Refused{What: fmt.Sprintf("service %s is in audit by what run was given", s.Name), Hint: forGood(policy.Enforce)}
		}
		delete(a, s.Name)
	}
	return nil
}

// Over parts the audits that go on at boot from the services, sorted, whose audit is over.
func (a Audits) Over(boot time.Duration) (left Audits, over []string) {
	left = Audits{}
	for name, end := range a {
		if end.Boottime > uint64(boot) {
			left[name] = end
		} else {
			over = append(over, name)
		}
	}
	slices.Sort(over)
	return left, over
}
