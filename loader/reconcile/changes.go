package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	claims, err := addedClaims(r, e.view.clock.now())
	if err == nil {
		err = e.servicesExist(claims)
	}
	if err != nil {
		return Listing{}, err
	}
	_, err = e.make(change{
		by: by, command: "add", verb: policy.VerbAdd, force: policy.Force{AllowAny: r.AllowAny, AllowEmpty: true}, put: claims, peers: r.Sessions,
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
		if entry, found := find(e.view.state, claim.Prefix); found {
			entries = append(entries, entry)
		}
	}
	return e.listing(entries)
}

func (e *Engine) listing(entries []policy.Entry) Listing {
	slices.SortFunc(entries, func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return Listing{Generation: e.view.gate.Tables.Generation(), Total: len(e.view.state.Entries), Entries: e.view.entries(entries)}
}

func find(state policy.State, prefix netip.Prefix) (policy.Entry, bool) {
	i, found := slices.BinarySearchFunc(state.Entries, prefix, func(e policy.Entry, p netip.Prefix) int {
		return policy.ComparePrefix(e.Prefix, p)
	})
	if !found {
		return policy.Entry{}, false
	}
	return state.Entries[i], true
}

// Remove takes CLI claims away, all or none. It refuses when a named prefix had no
// claim, or would still be allowed afterwards, and says by what.
func (e *Engine) Remove(_ context.Context, by Caller, r RemoveRequest) (Listing, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	prefixes, err := e.toRemove(r)
	if err != nil {
		return Listing{}, err
	}
	if err := e.removable(prefixes); err != nil {
		return Listing{}, err
	}
	var gone []policy.Entry
	for _, prefix := range prefixes {
		entry, _ := find(e.view.state, prefix)
		gone = append(gone, entry)
	}
	before := e.view.entries(gone)
	_, err = e.make(change{
		by: by, command: "remove", verb: policy.VerbRemove, force: policy.Force{AllowEmpty: r.AllowEmpty}, remove: prefixes, peers: r.Sessions,
	})
	if err != nil {
		return Listing{}, err
	}
	e.options.Log.Info(fmt.Sprintf("removed %s: generation %d", plural(len(prefixes), "prefix", "prefixes"), e.view.gate.Tables.Generation()), "uid", by.UID, "pid", by.PID)
	listing := e.listing(nil)
	listing.Entries = before
	return listing, nil
}

// toRemove returns the prefixes that r means, sorted.
func (e *Engine) toRemove(r RemoveRequest) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range r.Prefixes {
		prefix, _, err := policy.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, prefix)
	}
	if r.Owner != "" {
		if err := policy.ParseName("owner", r.Owner); err != nil {
			return nil, err
		}
		for prefix, claim := range e.claims {
			if claim.Owner == r.Owner {
				prefixes = append(prefixes, prefix)
			}
		}
		if len(prefixes) == 0 {
			return nil, &policy.Refused{What: "no prefix that add made belongs to " + r.Owner, Hint: "xdpallow list --owner " + r.Owner}
		}
	}
	if len(prefixes) == 0 {
		return nil, &policy.InputError{What: "no prefix to remove", Hint: "xdpallow remove 192.0.2.0/24"}
	}
	slices.SortFunc(prefixes, policy.ComparePrefix)
	return slices.Compact(prefixes), nil
}

// removable refuses a removal that would not do what its words say: the source
// would go on being listed, and the operator would not know.
func (e *Engine) removable(prefixes []netip.Prefix) error {
	for _, prefix := range prefixes {
		entry, found := find(e.view.state, prefix)
		if _, ours := e.claims[prefix]; !ours {
			if found {
				return &policy.Refused{
					What: fmt.Sprintf("%s was not made by add: it stands in %s", prefix, declaredBy(entry)),
					Hint: "edit it there, then: xdpallow reload",
				}
			}
			what := prefix.String() + " is not on the list"
			for covering := range e.view.state.Covering(prefix) {
				what += fmt.Sprintf("; it is allowed by %s", covering.Prefix)
				break
			}
			return &policy.Refused{What: what, Hint: "xdpallow check " + prefix.Addr().String()}
		}
		if by := declaredBy(entry); by != "" {
			return &policy.Refused{
				What: fmt.Sprintf("%s would still be allowed, by %s", prefix, by),
				Hint: "take it out there, then: xdpallow reload",
			}
		}
		for covering := range e.view.state.Covering(prefix) {
			if covering.Prefix != prefix && !slices.Contains(prefixes, covering.Prefix) {
				return &policy.Refused{
					What: fmt.Sprintf("%s would still be allowed, by %s", prefix, covering.Prefix),
					Hint: fmt.Sprintf("xdpallow remove %s %s", prefix, covering.Prefix),
				}
			}
		}
	}
	return nil
}

// declaredBy names the first place that declares entry, "" when only the CLI does.
func declaredBy(entry policy.Entry) string {
	for _, claim := range entry.Claims {
		switch {
		case claim.Where != "":
			return claim.Where
		case claim.Origin == policy.OriginFlag:
			return "--allow " + claim.Prefix.String()
		}
	}
	return ""
}

// Reload reads every declared origin again. One bad line refuses the whole reload.
func (e *Engine) Reload(_ context.Context, by Caller, r ReloadRequest) (Plan, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	read, err := e.read()
	if err != nil {
		return Plan{}, err
	}
	failing := read.failing
	if len(failing) > 0 {
		if !r.DryRun {
			e.failing = failing
		}
		return Plan{}, joined(failing)
	}
	old := e.view.state.Services
	plan, err := e.make(change{
		by: by, command: "reload", verb: policy.VerbReload, dryRun: r.DryRun, services: read.services, declared: read.declared, peers: r.Sessions,
		force: policy.Force{AllowEmpty: r.AllowEmpty, AllowAny: r.AllowAny, ForceShrink: r.ForceShrink},
	})
	if err != nil {
		return Plan{}, err
	}
	if !r.DryRun {
		e.failing = failing
		e.options.Log.Info(fmt.Sprintf("reloaded: %d added, %d removed, %d changed: generation %d",
			len(plan.Added), len(plan.Removed), len(plan.Changed), e.view.gate.Tables.Generation()), "uid", by.UID, "pid", by.PID)
		e.logServices(old, plan)
		for _, warning := range read.restart {
			e.options.Log.Warn(warning)
		}
	}
	total := len(e.view.state.Entries)
	if r.DryRun {
		total += len(plan.Added) - len(plan.Removed)
	}
	return Plan{
		Generation: e.view.gate.Tables.Generation(), Total: total,
		Added: e.view.entries(plan.Added), Removed: e.view.entries(plan.Removed), Changed: e.view.entries(plan.Changed),
		Warnings: read.restart,
	}, nil
}

// Detach opens the gate on the named interfaces, on all when none is named. This
// daemon attaches none of them again; with none left it is done.
func (e *Engine) Detach(_ context.Context, by Caller, r DetachRequest) (DetachResult, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	linked, err := e.view.gate.Linked()
	if err != nil {
		return DetachResult{}, err
	}
	names := r.Interfaces
	if len(names) == 0 {
		names = linked
	}
	for _, name := range names {
		if !slices.Contains(linked, name) {
			return DetachResult{}, &policy.Refused{What: fmt.Sprintf("interface %s is not guarded", name), Hint: "xdpallow status"}
		}
	}
	result := DetachResult{Detached: []string{}, Left: []string{}}
	for _, name := range linked {
		if !slices.Contains(names, name) {
			result.Left = append(result.Left, name)
			continue
		}
		e.released[name] = true
		if err := e.view.gate.Detach(name); err != nil {
			return result, err
		}
		delete(e.unnamed, name)
		result.Detached = append(result.Detached, name)
		e.options.Log.Warn(name+": detached, everything passes", "uid", by.UID, "pid", by.PID)
	}
	if len(result.Left) > 0 {
		return result, nil
	}
	select {
	case <-e.done:
	default:
		close(e.done)
	}
	return result, errors.Join(e.view.gate.DetachBackstop(), e.view.gate.Remove())
}
