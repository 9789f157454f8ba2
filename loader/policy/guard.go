// This file is the guard rails: changes that are well formed and are far more
// often a mistake than meant.

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Verb is the command that asks for a change.
type Verb string

// The verbs. VerbRun is a start, which reads flags and files over the last
// good state as VerbReload does.
const (
	VerbRun    Verb = "run"
	VerbAdd    Verb = "add"
	VerbRemove Verb = "remove"
	VerbReload Verb = "reload"

	VerbSuspend Verb = "suspend"
)

// Force is what the caller said is meant.
type Force struct {
	AllowEmpty, AllowAny, ForceShrink bool
}

// Wider prefixes need --allow-any; from minShrink entries on, losing more
// than half in one reading needs --force-shrink.
const (
	widest4   = 8
	widest6   = 19
	minShrink = 10
)

// Guard refuses, as *Refused, what plan would do without the flag for it. The hint
// is that flag: only the caller knows the command that it belongs to. An entry that
// has ended at now lets nobody in, and is no reason to think that the list is not
// empty.
func Guard(old, new State, plan Plan, verb Verb, force Force, now time.Time) error {
	if !force.AllowEmpty {
		if err := guardEmpty(new, now); err != nil {
			return err
		}
	}
	if !force.AllowAny {
		if err := guardWidth(plan); err != nil {
			return err
		}
	}
	// remove names each prefix that goes; a truncated file names none.
	reads := verb == VerbReload || verb == VerbRun
	was, gone := old.Entries.Len(), len(plan.Removed)
	if reads && !force.ForceShrink && was >= minShrink && gone*2 > was {
		return refusedf("--force-shrink", "%d of %d prefixes would be removed", gone, was)
	}
	return nil
}

func guardEmpty(new State, now time.Time) error {
	for e := range new.Entries.All() {
		if !hasEnded(e.Until, now) {
			return nil
		}
	}
	what := "no prefix is left"
	if new.Entries.Len() > 0 {
		what = "every prefix has ended"
	}
	for _, s := range new.Services {
		if s.Mode == Enforce {
			return refusedf("--allow-empty", "%s and service %s enforces: nobody could connect", what, s.Name)
		}
	}
	return nil
}

// guardWidth names the first prefix that is new and too wide; one that was
// let in before does not stop later changes.
func guardWidth(plan Plan) error {
	for _, e := range slices.Concat(plan.Added, plan.Changed) {
		widest := widest6
		if e.Prefix.Addr().Is4() {
			widest = widest4
		}
		if e.Prefix.Bits() < widest {
			return refusedf("--allow-any", "%s (%s) is wider than /%d", e.Prefix, e.Claims[0].place(), widest)
		}
	}
	return nil
}

func refusedf(hint, format string, args ...any) *Refused {
	return &Refused{What: fmt.Sprintf(format, args...), Hint: hint}
}

// Peer is the far end of a TCP connection that an ancestor of the calling
// process holds, and the port at the near end.
type Peer struct {
	Addr netip.Addr
	Port uint16
}

// GuardPeer refuses, as *Refused, a state in which the caller could not log in
// again: a protected TCP port carries his own session, and new does not list
// his end of it. Whether that is new is for the caller to compare. The hint lists
// him: before a run that is refused there is no daemon to add to.
func GuardPeer(new State, peers []Peer, verb Verb, now time.Time) error {
	list := "xdpallow add "
	if verb == VerbRun {
		list = "--allow "
	}
	for _, peer := range peers {
		port := Port{TCP, peer.Port}
		service, protected := new.ServiceOf(port)
		// A socket of [::] shows its IPv4 peers mapped. Local clients always pass.
		addr := peer.Addr.Unmap().WithZone("")
		if !protected || service.Mode != Enforce || addr.IsLoopback() {
			continue
		}
		if _, reason := new.Lookup(addr, service.Name, now); reason != ReasonListed {
			return refusedf(list+addr.String(),
				"your own session comes from %s to %s and would be dropped (%s)", addr, port, reason)
		}
	}
	return nil
}
