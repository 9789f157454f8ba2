package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// Add makes or updates CLI claims, all or none.
func (e *Engine) Add(ctx context.Context, by Caller, r AddRequest) (Listing, error) {
	if err := e.begin(ctx); err != nil {
		return Listing{}, err
	}
	defer e.mu.Unlock()
	if len(r.Prefixes) == 0 {
		return Listing{}, &policy.InputError{What: "no prefix to add", Hint: "xdpallow add 192.0.2.0/24 --owner acme"}
	}
	now := e.view.now()
	every, err := e.everyService(r.Services)
	if every {
		r.Services = nil
	}
	var claims []policy.Claim
	if err == nil {
		claims, err = addedClaims(r, now)
	}
	if err == nil && !r.Whole {
		err = e.keep(claims, r, every, now)
	}
	if err == nil {
		err = e.servicesExist(claims)
	}
	if err != nil {
		return Listing{}, err
	}
	news := slices.DeleteFunc(slices.Clone(claims), func(c policy.Claim) bool {
		old := e.view.Claimed(c.Prefix)
		return old != nil && policy.SameWords(*old, c)
	})
	var assess time.Duration // an addition cuts hardly anybody off: only who asks is told
	if r.DryRun {
		if assess, err = assessed(DefaultSeen); err != nil {
			return Listing{}, err
		}
	}
	before := e.view.State
	o, err := e.make(change{
		by: by, command: "add", dryRun: r.DryRun, assess: assess, verb: policy.VerbAdd, force: policy.Force{AllowAny: r.AllowAny, AllowEmpty: true}, edit: desired.Edit{Claims: policy.Edit{Put: news}}, lasting: lasting(r, news, now), peers: r.Sessions,
	})
	if err != nil {
		return Listing{}, err
	}
	changed := !o.plan.Empty()
	if r.DryRun {
		entries := standing(claims, o.next)
		listing := e.listing(entries)
		listing.Total, listing.Changed, listing.Was, listing.Foreseen = o.next.Entries.Len(), &changed, query.FormersOf(entries, o.plan), o.foreseen()
		listing.Warnings = o.warnings
		return listing, nil
	}
	if len(news) > 0 {
		e.options.Log.Info(fmt.Sprintf("added %s: generation %d", namedClaims(news), e.view.gate.Tables.Generation()), attributes(by)...)
	}
	entries := standing(claims, e.view.Policy)
	listing := e.listing(entries)
	listing.Changed, listing.Was, listing.Warnings = &changed, query.FormersOf(entries, o.plan), e.view.Warnings(before, o.plan, entries)
	return listing, nil
}

// everyService reports whether names say that an entry is for every service.
func (e *Engine) everyService(names []string) (bool, error) {
	named := func(s policy.Service) bool { return s.Name == EveryService }
	if !slices.Contains(names, EveryService) || slices.ContainsFunc(e.view.Policy.Services, named) {
		return false, nil
	}
	if len(names) > 1 {
		return false, &policy.InputError{What: "--service " + EveryService + " is every service, and goes with no other", Hint: "--service " + EveryService}
	}
	return true, nil
}

// keep fills in, from what the CLI claims of each prefix now, what r does not say. A
// time that has passed is not kept: the prefix would be added and shut out all the same.
func (e *Engine) keep(claims []policy.Claim, r AddRequest, every bool, now time.Time) error {
	for i := range claims {
		claim := &claims[i]
		old := e.view.Claimed(claim.Prefix)
		if old == nil {
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
func lasting(r AddRequest, claims []policy.Claim, now time.Time) (long []policy.Claim) {
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
	case r.Until == Never:
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
func (e *Engine) servicesExist(claims []policy.Claim) error {
	err := policy.CheckServices(claims, e.view.Policy.Services)
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

// namedClaims is for the log: whose prefixes claims are about.
func namedClaims(claims []policy.Claim) string {
	const most = 3
	var names []string
	for _, claim := range claims[:min(len(claims), most)] {
		name := claim.Prefix.String()
		if claim.Owner != "" {
			name += " (" + claim.Owner + ")"
		}
		names = append(names, name)
	}
	if more := len(claims) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// standing are the entries of state that claims are part of, sorted.
func standing(claims []policy.Claim, state policy.State) []policy.Entry {
	var entries []policy.Entry
	for _, claim := range claims {
		if entry, found := state.Entries.Find(claim.Prefix); found {
			entries = append(entries, *entry)
		}
	}
	slices.SortFunc(entries, func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return entries
}

func (e *Engine) listing(entries []policy.Entry) Listing {
	return Listing{Generation: e.view.gate.Tables.Generation(), Total: e.view.Policy.Entries.Len(), Entries: e.view.query().Entries(entries)}
}
