// This file says what of a reading counts: what is held or could not be read stays as it is
// enforced, and what would open something stays shut.

package declared

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Enforced are the claims of flags and files that are enforced, by origin.
type Enforced = map[policy.Origin][]policy.Claim

// Withhold puts what is enforced in the place of what the files say that are held.
func (r *Reading) Withhold(held func(policy.Origin) bool, enforced Enforced) {
	maps.DeleteFunc(r.Claims, func(origin policy.Origin, _ []policy.Claim) bool { return held(origin) })
	maps.DeleteFunc(r.Failing, func(origin policy.Origin, _ error) bool { return held(origin) })
	for origin, claims := range enforced {
		if held(origin) {
			r.Claims[origin] = claims
		}
	}
	if held(policy.OriginConfig) {
		if r.Origins = nil; !r.typed {
			r.Services = nil
		}
	}
}

// KeepUnread puts what is enforced in the place of what could not be read.
func (r *Reading) KeepUnread(enforced Enforced) {
	for origin, claims := range enforced {
		if r.Failing.Has(origin) || r.Failing[policy.OriginConfig] != nil && r.mayBeNamed(origin) {
			r.Claims[origin] = claims
		}
	}
}

// mayBeNamed reports whether origin may be a file that a config file names which cannot
// be read: then nobody knows that it was unconfigured.
func (r *Reading) mayBeNamed(origin policy.Origin) bool {
	_, found := r.Claims[origin]
	return !found && origin.IsFile() && !r.stillNamed(origin)
}

// stillNamed reports whether a file that is no longer found lies in a path that is
// still given: it was deleted, not unconfigured. A config file always is.
func (r *Reading) stillNamed(origin policy.Origin) bool {
	if origin == policy.OriginConfig {
		return r.config != ""
	}
	path, isList := origin.Path()
	return isList && slices.ContainsFunc(r.files, func(named string) bool {
		return path == named || strings.HasPrefix(path, strings.TrimSuffix(named, "/")+"/")
	})
}

// TakeBack puts what is enforced in the place of what has changed in files, which refused was
// refused for. It reports whether the services were among that, which are nil then.
func (r *Reading) TakeBack(enforced Enforced, services []policy.Service, refused error) (servicesToo bool) {
	for origin, claims := range r.Claims {
		old, found := enforced[origin]
		switch {
		case !origin.IsFile() || found && sameClaims(old, claims):
		case found:
			r.Claims[origin], r.Failing[origin] = old, refused
		default: // new, and with nothing to fall back on
			delete(r.Claims, origin)
			r.Failing[origin] = refused
		}
	}
	for origin, old := range enforced {
		if _, found := r.Claims[origin]; !found && r.stillNamed(origin) {
			r.Claims[origin], r.Failing[origin] = old, refused
		}
	}
	if r.typed || r.Services == nil || slices.EqualFunc(services, r.Services, policy.Service.Equal) {
		return false
	}
	r.Services, r.Failing[policy.OriginConfig] = nil, refused
	return true
}

func sameClaims(a, b []policy.Claim) bool {
	return slices.EqualFunc(a, b, func(a, b policy.Claim) bool {
		return policy.FormatLine(a) == policy.FormatLine(b)
	})
}

// StillFailing is what fails after a reading that was not taken over: what it met, what failed
// before for another reason than that it could not be read, and files that are gone, whose
// entries are enforced all the same.
func (r *Reading) StillFailing(before Failing, enforced Enforced) Failing {
	failing := maps.Clone(r.Failing)
	for origin, err := range before {
		_, isList := origin.Path()
		if _, known := failing[origin]; !known && (r.found[origin] || !isList) {
			failing[origin] = err
		}
	}
	if failing[policy.OriginConfig] != nil { // which files there are is not known
		return failing
	}
	for origin := range enforced {
		if path, isList := origin.Path(); isList && !r.found[origin] && !r.Failing.Has(origin) {
			failing[origin] = &policy.InputError{Where: path, What: "is gone"}
		}
	}
	return failing
}

// Kept is what the config file would open, and this start did not.
type Kept struct {
	Openings []policy.Opening
	LeftOut  []policy.Port // what it would audit beside that: not guarded meanwhile
	Backstop bool          // it turns the backstop off
}

// KeepShut takes out of r what the config file would open of services, those that are enforced.
func (r *Reading) KeepShut(services []policy.Service) Kept {
	kept := Kept{Openings: policy.Openings(services, r.Services)}
	asked := r.Services
	r.Services = policy.KeptShut(services, asked)
	kept.LeftOut = policy.LeftOut(asked, r.Services)
	return kept
}

// BackstopGoes is what opens without a backstop.
const BackstopGoes = "the backstop goes off, and what comes in beside the guarded interfaces is not judged"

// String is for a problem; "" is nothing.
func (k Kept) String() string {
	var kept []string
	if len(k.Openings) > 0 {
		kept = append(kept, policy.JoinOpenings(k.Openings))
	}
	if len(k.LeftOut) > 0 {
		kept = append(kept, fmt.Sprintf("meanwhile %s is not guarded, nor audited", policy.JoinPorts(k.LeftOut)))
	}
	if k.Backstop {
		kept = append(kept, BackstopGoes)
	}
	return strings.Join(kept, "; ")
}
