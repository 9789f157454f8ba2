package main

// This file says what a change made of an entry, in words.

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// difference is "until 2027-01-31T00:00:00Z → never, services api → all"; "" is none.
func difference(was api.Former, is api.Entry) string {
	var parts []string
	tell := func(name, before, after string) {
		if before != after {
			parts = append(parts, name+" "+before+" → "+after)
		}
	}
	quoted := func(note string) string {
		if note == "" {
			return "-"
		}
		return strconv.Quote(note)
	}
	services := func(names []string) string { return cmp.Or(strings.Join(names, ","), api.EveryService) }
	tell("owner", cmp.Or(was.Owner, "-"), cmp.Or(is.Owner, "-"))
	tell("services", services(was.Services), services(is.Services))
	tell("until", end(was.Until), end(is.Until))
	tell("note", quoted(was.Note), quoted(is.Note))
	if !slices.Equal(was.Origins, is.Origins) {
		tell("origin", joined(was.Origins), joined(is.Origins))
	}
	return strings.Join(parts, ", ")
}

// end is moment of an end: nil is never, and not unknown.
func end(until *time.Time) string {
	if until == nil {
		return api.Never
	}
	return moment(until)
}

// formerly finds an entry as it was.
func formerly(was []api.Former) map[netip.Prefix]api.Former {
	byPrefix := make(map[netip.Prefix]api.Former, len(was))
	for _, f := range was {
		byPrefix[f.Prefix] = f
	}
	return byPrefix
}

// described is the owner of an entry, and what is other than it was before.
func described(was map[netip.Prefix]api.Former, is api.Entry) string {
	if before, found := was[is.Prefix]; found {
		if what := difference(before, is); what != "" {
			return strings.TrimSpace(is.Owner + " (" + what + ")")
		}
	}
	return is.Owner
}
