// This file says what limit makes of a state, and what it refuses.

package desired

import (
	"fmt"
	"math"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Limit is what r makes of d. It refuses, as *policy.Refused, an owner of whom nothing is
// said, and as *policy.InputError what no host could keep to.
func (d State) Limit(r api.LimitRequest) (OverridesEdit, error) {
	if err := policy.ParseName("owner", r.Owner); err != nil {
		return OverridesEdit{}, err
	}
	if r.PerSecond == 0 {
		if _, limited := d.Limits[r.Owner]; !limited {
			what, hint := fmt.Sprintf("%s has no limit", r.Owner), "xdpallow owners"
			if _, by, limited := d.LimitOf(r.Owner); limited {
				what, hint = fmt.Sprintf("%s has no limit of this host: %s limits it", r.Owner, by), api.InList(by, "limit "+r.Owner+" none")
			}
			return OverridesEdit{}, &policy.Refused{What: what, Hint: hint}
		}
		return OverridesEdit{Unlimit: []string{r.Owner}}, nil
	}
	if err := d.Knows(r.Owner); err != nil {
		return OverridesEdit{}, err
	}
	burst := max(r.Burst, 1)
	if r.Burst == 0 {
		burst = BurstOf(r.PerSecond)
	}
	l := store.Limit{Owner: r.Owner, PerSecond: r.PerSecond, Burst: burst}
	return OverridesEdit{Limit: []store.Limit{l}}, CheckLimit(l)
}

// mostPerSecond is more than a host can open.
const mostPerSecond = 1_000_000

// BurstOf is the burst of a limit that says none: what a second has.
func BurstOf(perSecond float64) uint32 {
	return uint32(max(1, math.Ceil(min(perSecond, mostPerSecond))))
}

// CheckLimit refuses, as *policy.InputError, what no host could keep to.
func CheckLimit(l store.Limit) error {
	const year = 365 * 24 * time.Hour
	switch {
	case !(l.PerSecond > 0):
		return &policy.InputError{What: fmt.Sprintf("%s is not over 0", policy.FormatRate(l.PerSecond))}
	case l.PerSecond > mostPerSecond:
		return &policy.InputError{What: fmt.Sprintf("%s is over %s", policy.FormatRate(l.PerSecond), policy.FormatRate(mostPerSecond))}
	case float64(l.Burst)/l.PerSecond > year.Seconds():
		return &policy.InputError{What: fmt.Sprintf("a burst of %d is more than a year of this rate", l.Burst)}
	}
	return nil
}
