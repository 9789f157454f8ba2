// This file is the guard rails: it refuses changes that are well formed and far more often a
// mistake than meant.

package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Verb is the command that asks for a change.
type Verb string

// The verbs. VerbRun is a start: as VerbReload does, it reads flags and files over the last
// good state.
const (
	VerbRun     Verb = "run"
	VerbAdd     Verb = "add"
	VerbRemove  Verb = "remove"
	VerbReplace Verb = "replace"
	VerbImport  Verb = "import"
	VerbReload  Verb = "reload"
	VerbFollow  Verb = "follow" // a list that is kept elsewhere has changed

	VerbSuspend  Verb = "suspend"
	VerbRollback Verb = "rollback"
)

// Force is which guard rails the caller has switched off.
type Force struct {
	AllowEmpty  bool `json:"allow_empty"`
	AllowAny    bool `json:"allow_any"`
	ForceShrink bool `json:"force_shrink"`
	AllowOpen   bool `json:"allow_open,omitempty"`   // see Openings
	CutSessions bool `json:"cut_sessions,omitempty"` // see GuardPeer and GuardLogins, which are not asked
}

// A prefix wider than these lengths needs --allow-any. From minShrink entries on, to lose more
// than half in one reading needs --force-shrink.
const (
	widest4   = 8
	widest6   = 19
	minShrink = 10
)

// Guard refuses, with a *Refused, what plan would do where the flag for it is not in force. The
// hint is that flag, because only the caller knows the whole command. An entry that has ended
// at now lets nobody in: a list of such entries counts as empty.
func Guard(old, new State, plan Plan, verb Verb, force Force, now time.Time) error {
	// These verbs read services, too. At a start KeptShut sees to it that nothing opens.
	if !force.AllowOpen && (verb == VerbReload || verb == VerbRollback) {
		if err := GuardOpen(plan); err != nil {
			return err
		}
	}
	if !force.AllowEmpty {
		if err := guardEmpty(old, new, now); err != nil {
			return err
		}
	}
	if !force.AllowAny {
		if err := guardWidth(plan); err != nil {
			return err
		}
	}
	// remove names each prefix that goes. A truncated file names none of them.
	reads := verb == VerbReload || verb == VerbRun || verb == VerbReplace || verb == VerbImport || verb == VerbRollback
	if reads && !force.ForceShrink {
		return guardShrink(old, plan)
	}
	return nil
}

// Shrinks reports whether to lose gone of so many entries needs --force-shrink.
func Shrinks(gone, was int) bool { return was >= minShrink && gone*2 > was }

// guardShrink looks at the whole list and at each origin: beside ten thousand prefixes of
// others, a file that was cut short would not be noticed. A prefix that moves to another origin
// is not lost. OriginFlag is left out, because its prefixes are typed.
func guardShrink(old State, plan Plan) error {
	was, gone := old.Entries.Len(), len(plan.Removed)
	if Shrinks(gone, was) {
		return refusedf("--force-shrink", "%d of %d prefixes would be removed", gone, was)
	}
	if gone*2 <= minShrink { // too few for any origin with minShrink prefixes
		return nil
	}
	had, lost := map[Origin]int{}, map[Origin]int{}
	for e := range old.Entries.All() {
		for _, origin := range e.Origins() {
			had[origin]++
		}
	}
	for _, e := range plan.Removed {
		for _, origin := range e.Origins() {
			lost[origin]++
		}
	}
	for _, origin := range slices.Sorted(maps.Keys(lost)) {
		if origin != OriginFlag && Shrinks(lost[origin], had[origin]) {
			return refusedf("--force-shrink", "%d of %d prefixes of %s would be removed", lost[origin], had[origin], origin)
		}
	}
	return nil
}

// GuardOpen refuses, with a *Refused, a plan by which unlisted sources reach more than before.
func GuardOpen(plan Plan) error {
	if len(plan.Opens) == 0 {
		return nil
	}
	return refusedf("--allow-open", "this would open what is shut: %s", JoinOpenings(plan.Opens))
}

// guardEmpty refuses a change after which nobody could connect to a service that enforces, if
// somebody could before. A new service may wait for its first prefix beside services that have
// some.
func guardEmpty(old, new State, now time.Time) error {
	for _, s := range new.Services {
		if s.Mode != Enforce || new.grantsAny(s.Name, now) {
			continue
		}
		was := named(old.Services, s.Name)
		before := was != nil && was.Mode == Enforce
		switch some := new.grantsAny("", now); {
		case before && !old.grantsAny(s.Name, now), was == nil && some:
			continue
		case some:
			return refusedf("--allow-empty", "no prefix is left for service %s, which enforces: nobody could connect to %s", s.Name, JoinPorts(s.Ports))
		case new.Entries.Len() > 0:
			return refusedf("--allow-empty", "every prefix has ended and service %s enforces: nobody could connect", s.Name)
		}
		return refusedf("--allow-empty", "no prefix is left and service %s enforces: nobody could connect", s.Name)
	}
	return nil
}

// grantsAny reports whether an entry that has not ended is for service; "" is any service.
func (s State) grantsAny(service string, now time.Time) bool {
	for e := range s.Entries.All() {
		if !HasEnded(e.Until(), now) && (service == "" || len(e.Services()) == 0 || slices.Contains(e.Services(), service)) {
			return true
		}
	}
	return false
}

// guardWidth refuses new prefixes that are too wide, and names the first one. A wide prefix that
// was listed before does not stop later changes.
func guardWidth(plan Plan) error {
	for _, e := range slices.Concat(plan.Added, plan.Changed) {
		if widest := widestOf(e.Prefix); e.Prefix.Bits() < widest {
			return refusedf("--allow-any", "%s (%s) is wider than /%d", e.Prefix, e.Claims()[0].place(), widest)
		}
	}
	return nil
}

// GuardSubject refuses, with a *Refused, to suspend or cut a prefix that is too wide. done is
// "suspended" or "cut", for the message.
func GuardSubject(p netip.Prefix, done string) error {
	if widest := widestOf(p); p.Bits() < widest {
		return refusedf("--allow-any", "%s is wider than /%d: nearly everybody would be %s", p, widest, done)
	}
	return nil
}

// widestOf returns the shortest length of p's family that needs no flag.
func widestOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return widest4
	}
	return widest6
}

func refusedf(hint, format string, args ...any) *Refused {
	return &Refused{What: fmt.Sprintf(format, args...), Hint: hint}
}

// Peer is the remote address of a TCP connection of this host, and the local port.
type Peer struct {
	Addr netip.Addr
	Port uint16
}

// GuardPeer refuses, with a *Refused, a state in which the operator could not log in again:
// his own session comes to a protected TCP port from an address that new does not list.
// Whether that was so before, the caller must compare. The hint adds his address to the list;
// for VerbRun it is a flag of run, because there is no daemon to add to.
func GuardPeer(new State, peers []Peer, verb Verb, now time.Time) error {
	list := "xdpallow add "
	if verb == VerbRun {
		list = "--allow "
	}
	for _, peer := range peers {
		if _, reason, guarded := new.judge(peer, now); guarded && reason != ReasonListed {
			addr := peer.addr()
			return refusedf(list+addr.String(),
				"your own session comes from %s to %s and would be dropped (%s)", addr, Port{TCP, peer.Port}, reason)
		}
	}
	return nil
}

// GuardLogins refuses, with a *Refused, a change from old to new that newly guards a port at
// which somebody is logged in whom new does not list: it may be the operator himself, inside
// tmux. At a port that was guarded before, everybody was listed when he connected, and is cut
// off like any customer.
func GuardLogins(old, new State, logins []Peer, now time.Time) error {
	for _, peer := range logins {
		if _, _, guarded := old.judge(peer, now); guarded {
			continue
		}
		if _, reason, guarded := new.judge(peer, now); guarded && reason != ReasonListed {
			return refusedf("--cut-sessions", "somebody is logged in from %s to %s and could not log in again (%s)",
				peer.addr(), Port{TCP, peer.Port}, reason)
		}
	}
	return nil
}

// Admits reports whether s would let peer connect again, and by which entry. The entry is nil
// where nothing is dropped at the port.
func (s State) Admits(peer Peer, now time.Time) (admitted bool, by *Entry) {
	entry, reason, guarded := s.judge(peer, now)
	if !guarded {
		return true, nil
	}
	return reason == ReasonListed, entry
}

// judge looks peer up. It returns false where s drops nothing at the port.
func (s State) judge(peer Peer, now time.Time) (entry *Entry, reason string, guarded bool) {
	service, protected := s.ServiceOf(Port{TCP, peer.Port})
	if addr := peer.addr(); protected && service.Mode == Enforce && !addr.IsLoopback() { // local clients always pass
		entry, reason = s.Lookup(addr, service.Name, now)
		return entry, reason, true
	}
	return nil, "", false
}

// addr returns the source of peer's packets: a socket of [::] shows IPv4 peers as mapped.
func (p Peer) addr() netip.Addr { return p.Addr.Unmap().WithZone("") }
