package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Add makes or updates CLI claims, all or none.
func (e *Engine) Add(_ context.Context, by Caller, r AddRequest) (Listing, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(r.Prefixes) == 0 {
		return Listing{}, &policy.InputError{What: "no prefix to add", Hint: "xdpallow add 192.0.2.0/24 --owner acme"}
	}
	now := e.view.clock.now()
	claims, err := addedClaims(r, now)
	if err == nil {
		err = e.servicesExist(claims)
	}
	if err != nil {
		return Listing{}, err
	}
	_, err = e.make(change{
		by: by, command: "add", verb: policy.VerbAdd, force: policy.Force{AllowAny: r.AllowAny, AllowEmpty: true}, edit: policy.Edit{Put: claims}, lasting: r.lasting(claims, now), peers: r.Sessions,
	})
	if err != nil {
		return Listing{}, err
	}
	e.options.Log.Info(fmt.Sprintf("added %s: generation %d", plural(len(claims), "prefix", "prefixes"), e.view.gate.Tables.Generation()), "uid", by.UID, "pid", by.PID)
	return e.changed(claims), nil
}

// addedClaims parses the request by the grammar of a list file, so that what list -o
// text wrote can be added again. What else the request says holds for lines that do
// not say it.
func addedClaims(r AddRequest, now time.Time) ([]policy.Claim, error) {
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
func (r AddRequest) lasting(claims []policy.Claim, now time.Time) (lasting []policy.Claim) {
	if r.For == "" {
		return nil
	}
	until, _ := deadline(r, now) // it went well when r made the claims
	for _, claim := range claims {
		if claim.Until.Equal(until) {
			lasting = append(lasting, claim)
		}
	}
	return lasting
}

// deadline is when what r adds ends; zero is never.
func deadline(r AddRequest, now time.Time) (time.Time, error) {
	switch {
	case r.For != "" && r.Until != "":
		return time.Time{}, &policy.InputError{What: "an entry ends after --for or at --until, not both", Hint: "xdpallow add --help"}
	case r.For != "":
		lasts, err := policy.ParseDuration(r.For)
		if err != nil {
			return time.Time{}, err
		}
		return now.Add(lasts).Truncate(time.Millisecond), nil
	case r.Until != "":
		until, err := policy.ParseUntil(r.Until)
		if err == nil && !until.After(now) {
			err = &policy.InputError{What: fmt.Sprintf("until %s is over", r.Until), Hint: now.AddDate(0, 0, 90).Format(time.DateOnly)}
		}
		return until, err
	}
	return time.Time{}, nil
}

// servicesExist refuses claims for a service that is not there: they would let
// nobody in.
func (e *Engine) servicesExist(claims []policy.Claim) error {
	err := policy.CheckServices(claims, e.view.state.Services)
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		return &policy.InputError{What: input.What, Hint: input.Hint}
	}
	return err
}

// unplaced takes the line off a mistake in a single argument, where it says nothing.
func unplaced(err error) error {
	var input *policy.InputError
	if errors.As(err, &input) && input.Where == "add:1" {
		return &policy.InputError{What: input.What, Hint: input.Hint}
	}
	return err
}

// changed lists the entries of the claims as they are now.
func (e *Engine) changed(claims []policy.Claim) Listing {
	var entries []policy.Entry
	for _, claim := range claims {
		if entry, found := e.view.state.Entries.Find(claim.Prefix); found {
			entries = append(entries, *entry)
		}
	}
	return e.listing(entries)
}

func (e *Engine) listing(entries []policy.Entry) Listing {
	slices.SortFunc(entries, func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return Listing{Generation: e.view.gate.Tables.Generation(), Total: e.view.state.Entries.Len(), Entries: e.view.entries(entries)}
}
