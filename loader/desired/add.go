// This file says what add makes of a state, and what it refuses.

package desired

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Addition is what an add makes of a state.
type Addition struct {
	Claims  []policy.Claim // all that it asks for, as they will stand
	News    []policy.Claim // those that do not stand so already
	Lasting []policy.Claim // those of News that end so long after now, whatever the wall clock does
}

// Add is what r makes of d at now. It refuses, as *policy.InputError, what cannot be read
// and a service that is not there, and as *policy.Refused an entry that has ended and gets
// no new end.
func (d State) Add(r api.AddRequest, now time.Time) (add Addition, err error) {
	if len(r.Prefixes) == 0 {
		return add, &policy.InputError{What: "no prefix to add", Hint: "xdpallow add 192.0.2.0/24 --owner acme"}
	}
	every, err := d.everyService(r.Services)
	if err != nil {
		return add, err
	}
	if every {
		r.Services = nil
	}
	if add.Claims, err = addedClaims(r, now); err != nil {
		return add, err
	}
	if !r.Whole {
		if err := d.keep(add.Claims, r, every, now); err != nil {
			return add, err
		}
	}
	if err := d.servicesExist(add.Claims); err != nil {
		return add, err
	}
	if err := d.ownedElsewhere(add.Claims); err != nil {
		return add, err
	}
	add.News = slices.DeleteFunc(slices.Clone(add.Claims), func(c policy.Claim) bool {
		old, made := d.Claimed(c.Prefix)
		return made && policy.SameWords(old, c)
	})
	add.Lasting = lasting(r, add.News, now)
	return add, nil
}

// everyService reports whether names say that an entry is for every service.
func (d State) everyService(names []string) (bool, error) {
	named := func(s policy.Service) bool { return s.Name == api.EveryService }
	if !slices.Contains(names, api.EveryService) || slices.ContainsFunc(d.Policy.Services, named) {
		return false, nil
	}
	if len(names) > 1 {
		return false, &policy.InputError{What: "--service " + api.EveryService + " is every service, and goes with no other", Hint: "--service " + api.EveryService}
	}
	return true, nil
}

// keep fills in, from what the CLI claims of each prefix now, what r does not say. A
// time that has passed is not kept: the prefix would be added and shut out all the same.
func (d State) keep(claims []policy.Claim, r api.AddRequest, every bool, now time.Time) error {
	for i := range claims {
		claim := &claims[i]
		old, made := d.Claimed(claim.Prefix)
		if !made {
			continue
		}
		claim.Owner = cmp.Or(claim.Owner, old.Owner)
		if !r.NoNote {
			claim.Note = cmp.Or(claim.Note, old.Note)
		}
		if claim.Services == nil && !every {
			claim.Services = old.Services
		}
		if r.For != "" || r.Until != "" || !claim.Until.IsZero() || old.Until.IsZero() {
			continue
		}
		if claim.Until = old.Until; !old.Until.After(now) {
			return &policy.Refused{
				What: fmt.Sprintf("%s ended at %s: say how long it is let in now", claim.Prefix, old.Until.Format(time.RFC3339)),
				Hint: "--for 90d",
			}
		}
	}
	return nil
}

// addedClaims parses the request by the grammar of a list file, so that what list -o
// text wrote can be added again. What else the request says holds for lines that do
// not say it.
func addedClaims(r api.AddRequest, now time.Time) ([]policy.Claim, error) {
	claims, _, err := policy.ParseList("add", policy.OriginCLI, strings.NewReader(strings.Join(r.Prefixes, "\n")))
	if err != nil {
		return nil, unplaced(err)
	}
	if r.Owner != "" {
		if err := policy.ParseName("owner", r.Owner); err != nil {
			return nil, err
		}
	}
	if err := policy.ParseNote(r.Note); err != nil {
		return nil, err
	}
	services, err := policy.ParseServices(r.Services)
	if err != nil {
		return nil, err
	}
	until, err := deadline(r, now)
	if err != nil {
		return nil, err
	}
	for i := range claims {
		claims[i].Where = ""
		if claims[i].Owner == "" {
			claims[i].Owner = r.Owner
		}
		if claims[i].Note == "" {
			claims[i].Note = r.Note
		}
		if claims[i].Services == nil {
			claims[i].Services = services
		}
		if claims[i].Until.IsZero() {
			claims[i].Until = until
		}
	}
	return claims, nil
}

// lasting are those of claims, which r made at now, that end after --for; a line with an
// until of its own does not.
func lasting(r api.AddRequest, claims []policy.Claim, now time.Time) (long []policy.Claim) {
	if r.For == "" {
		return nil
	}
	until, _ := deadline(r, now) // it went well when r made the claims
	for _, claim := range claims {
		if claim.Until.Equal(until) {
			long = append(long, claim)
		}
	}
	return long
}

// deadline is when what r adds ends; zero is never.
func deadline(r api.AddRequest, now time.Time) (time.Time, error) {
	switch {
	case r.For != "" && r.Until != "":
		return time.Time{}, &policy.InputError{What: "an entry ends after --for or at --until, not both", Hint: "xdpallow add --help"}
	case r.For != "":
		lasts, err := policy.ParseDuration(r.For)
		if err != nil {
			return time.Time{}, err
		}
		return now.Add(lasts).Truncate(time.Millisecond), nil
	case r.Until == api.Never:
		return time.Time{}, nil
	case r.Until != "":
		until, err := policy.ParseUntil(r.Until)
		if err == nil && !until.After(now) {
			err = &policy.InputError{What: fmt.Sprintf("--until %s is in the past", r.Until), Hint: now.AddDate(0, 0, 90).Format(time.DateOnly)}
		}
		return until, err
	}
	return time.Time{}, nil
}

// servicesExist refuses claims for a service that is not there: they would let
// nobody in.
func (d State) servicesExist(claims []policy.Claim) error {
	err := policy.CheckServices(claims, d.Policy.Services)
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		return &policy.InputError{What: input.What, Hint: input.Hint}
	}
	return err
}

// unplaced takes the line off a mistake in a single argument, where it says nothing.
func unplaced(err error) error {
	if input, ok := errors.AsType[*policy.InputError](err); ok && input.Where == "add:1" {
		return &policy.InputError{What: input.What, Hint: input.Hint}
	}
	return err
}
