package declared

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Failing are origins whose last reading was not taken over, and why.
type Failing map[policy.Origin]error

// Has reports whether origin failed, or a directory that it lies in: what is in a directory
// that cannot be read is not known to be gone.
func (f Failing) Has(origin policy.Origin) bool {
	for failed := range f {
		if origin == failed || strings.HasPrefix(string(origin), string(failed)+"/") {
			return true
		}
	}
	return false
}

// Err is all of them in one; nil where none failed.
func (f Failing) Err() error {
	var errs []error
	for _, origin := range slices.Sorted(maps.Keys(f)) {
		errs = append(errs, f[origin])
	}
	return errors.Join(errs...)
}

// Blame puts the files that could not be read before a refusal, and takes its hint away: the
// prefixes that a start misses are in those files, and a flag that lets the start go on without
// them would shut their owners out.
func (f Failing) Blame(err error) error {
	refused, ok := errors.AsType[*policy.Refused](err)
	if !ok || len(f) == 0 {
		return err
	}
	return errors.Join(f.Err(), &policy.Refused{What: refused.What})
}
