// Package stored reads what an earlier daemon left in the state directory: for a start, for
// commands that work without a daemon, and for a preview of a start. It writes nothing.
package stored

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// Keys of the store's meta that are read here, and written by who changes what they stand for.
const (
	MetaOwners = "owners"
	MetaAudits = "audits"
	MetaHeld   = "held"

	MetaFollowed = "followed" // the settings of the origins that are followed
)

// Stored is what the last daemon enforced, and what it waited for.
type Stored struct {
	Last      store.Effective // services, settings, and the claims of flags and files
	Kept      []policy.Claim  // the claims of the CLI, then those of followed origins
	Origins   map[policy.Origin]store.OriginState
	Overrides desired.Overrides
	Audits    desired.Audits // those of earlier boots as well, which are over
	Clock     compile.Clock  // by which deadlines are set
	Owners    compile.OwnerIDs
	Deadlines compile.Deadlines
	Over      map[string][]byte // what is to be written to the meta to delete the deadlines of earlier boots, or nil
	Held      undo.Held
	Followed  []source.Settings // the origins that were followed last; nil: not known
	Pending   *store.Confirm    // what waits for its confirmation, or nil
}

// Read reads kept; now is the clock of the host. A *store.TornError comes with everything: the
// list could not be used, and the one before it was.
func Read(kept *store.Store, now compile.Clock) (s Stored, err error) {
	if s.Clock, err = clock(kept, now); err != nil {
		return s, err
	}
	ids := map[string]uint16{}
	err = errors.Join(Value(kept, MetaOwners, &ids), Value(kept, MetaAudits, &s.Audits), Value(kept, MetaHeld, &s.Held), Value(kept, MetaFollowed, &s.Followed))
	if err != nil {
		return s, err
	}
	s.Owners = compile.NewOwnerIDs(ids)
	if s.Deadlines, s.Over, err = compile.LoadDeadlines(kept); err != nil {
		return s, err
	}
	if s.Kept, err = kept.KeptClaims(); err != nil {
		return s, err
	}
	if s.Origins, err = kept.KeptOrigins(); err != nil {
		return s, err
	}
	suspensions, err := kept.Suspensions()
	if err != nil {
		return s, err
	}
	limits, err := kept.Limits()
	if err != nil {
		return s, err
	}
	s.Overrides = s.Overrides.After(desired.OverridesEdit{Suspend: suspensions, Limit: limits})
	if pending, found, err := kept.Pending(); err != nil {
		return s, err
	} else if found {
		s.Pending = &pending
	}
	s.Last, err = kept.Last()
	return s, err
}

// Value reads what the meta of kept has under key. Where it has nothing, into stays as it is.
func Value(kept *store.Store, key string, into any) error {
	text, err := kept.Meta(key)
	if err != nil || text == nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s of the state: %w", key, err)
	}
	return nil
}

// Look reads the state directory dir, beside a daemon too. The database knows best; while a
// daemon has it open, the list is all there is: it is a moment older at most, and says nothing
// of overrides, of what is held and of what waits.
func Look(dir string, now compile.Clock) (s Stored, err error) {
	kept, err := store.OpenReadOnly(dir)
	if err == nil {
		defer kept.Close()
		s, err = Read(kept, now)
	} else if errors.As(err, new(*lock.HeldError)) {
		s.Last, err = store.LoadEffective(dir)
		for _, claim := range s.Last.Claims {
			if claim.Origin.Kept() {
				s.Kept = append(s.Kept, *claim)
			}
		}
	}
	return s, untorn(err)
}

// untorn is err, or nil where err comes with data that are good.
func untorn(err error) error {
	if errors.As(err, new(*store.TornError)) {
		return nil
	}
	return err
}

// Good reports whether there is a policy that was enforced.
func (s *Stored) Good() bool { return good(s.Last) }

func good(last store.Effective) bool { return last.Generation > 0 && len(last.Services) > 0 }

// State is the state that was enforced, as of now; without one, what commands made waits for
// services. The claims of s belong to it from then on. Errors are those of desired.New.
func (s *Stored) State(now time.Time) (state desired.State, err error) {
	if !s.Good() {
		return desired.Waiting(s.Kept).With(s.Overrides).WithFleets(s.fleets()), nil
	}
	if state, err = desired.New(s.Last.Services, s.Last.Declared(), s.Kept, now); err != nil {
		return state, fmt.Errorf("bring back generation %d: %w", s.Last.Generation, err)
	}
	state = state.With(s.Overrides).WithFleets(s.fleets())
	state.Audits = s.Audits
	return state, nil
}

// fleets are what followed lists say over all origins.
func (s *Stored) fleets() map[policy.Origin]desired.Overrides {
	fleets := map[policy.Origin]desired.Overrides{}
	for origin, state := range s.Origins {
		if by := (desired.OverridesEdit{Suspend: state.Suspended, Limit: state.Limits}); !by.Empty() {
			fleets[origin] = desired.Overrides{}.After(by)
		}
	}
	return fleets
}

// HadBackstop reports whether the last good policy in the state directory dir has a backstop: a
// start keeps it, whatever a config file says. Where that cannot be read, it has none.
func HadBackstop(dir string) bool {
	last, err := store.LoadDeclared(dir)
	return untorn(err) == nil && last.Backstop == "on"
}

// Recoverable reports whether the state directory dir holds a policy to fall back on when what
// is declared cannot be read.
func Recoverable(dir string) bool {
	last, err := store.LoadDeclared(dir)
	if err = untorn(err); err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	if good(last) {
		return true
	}
	kept, err := store.OpenReadOnly(dir)
	if err != nil {
		return false
	}
	defer kept.Close()
	last, err = kept.Last()
	return err == nil && good(last)
}
