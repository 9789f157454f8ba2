// This file ends connections that are open: the policy judges openings only, and who
// was stopped just now may have been connected for weeks.

package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/sockets"
	"github.com/xdpallow/xdpallow/loader/store"
)

// picked reports whether a source belongs to those whose connections are to end; entry
// is the one that decides of it, nil when none does.
type picked func(source netip.Addr, entry *policy.Entry) bool

// belongs is picked, in any state, for all that belongs to s.
func belongs(s Subject) func(policy.State) picked {
	return func(state policy.State) picked {
		return func(source netip.Addr, entry *policy.Entry) bool {
			if s.Owner == "" {
				return s.Prefix.Contains(source)
			}
			return entry != nil && state.OwnerOf(entry) == s.Owner
		}
	}
}

// within is picked, in any state, for what lies in one of prefixes.
func within(prefixes []netip.Prefix) func(policy.State) picked {
	return func(policy.State) picked {
		return func(source netip.Addr, _ *policy.Entry) bool {
			return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(source) })
		}
	}
}

// Cut ends the open connections of a subject, listed or not. The policy stays: who may
// connect does so again.
func (e *Engine) Cut(ctx context.Context, by Caller, r CutRequest) (CutResult, error) {
	subject, err := requestedSubject(r.Subject)
	if err != nil {
		return CutResult{}, err
	}
	if r.Owner == "" && !r.AllowAny {
		if err := policy.GuardSubject(subject.Prefix, "cut"); err != nil {
			return CutResult{}, err
		}
	}
	state := e.snapshot()
	if ctx.Err() != nil {
		return CutResult{}, errGone
	}
	if r.Owner != "" {
		e.mu.Lock()
		err = e.knows(r.Owner)
		e.mu.Unlock()
		if err != nil {
			return CutResult{}, err
		}
	}
	choose := chooser(state, belongs(r.Subject)(state), false)
	for _, peer := range r.Sessions {
		if choose(peer.Addr, peer.Port) {
			return CutResult{}, &policy.Refused{What: fmt.Sprintf("your own session comes from %s and would be cut", peer.Addr.Unmap()), Hint: "xdpallow check " + peer.Addr.Unmap().String()}
		}
	}
	n, err := cut(state, choose)
	if err != nil {
		return CutResult{}, err
	}
	if err := e.logCut(by); err != nil {
		return CutResult{Subject: subject.String(), Cut: n}, err
	}
	e.options.Log.Warn(fmt.Sprintf("cut %s of %s", policy.Count(n, "connection", "connections"), subject), attributes(by)...)
	return CutResult{Subject: subject.String(), Cut: n}, nil
}

// logCut notes who cut connections, and why.
func (e *Engine) logCut(by Caller) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	record := change{by: by, command: "cut"}.logged(policy.Plan{})
	if err := e.store.Apply(store.Change{Log: record}); err != nil {
		return fmt.Errorf("connections were cut, and it is not noted in the history: %w", err)
	}
	record.After = e.lastGeneration()
	e.last = query.ChangeOf(*record)
	return nil
}

// cutOff ends the connections of those whom which picks and who are no longer listed.
func (e *Engine) cutOff(which func(policy.State) picked) (int, error) {
	state := e.snapshot()
	return cut(state, chooser(state, which(state), true))
}

func (e *Engine) snapshot() policy.State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.view.Policy
}

// chooser tells whose connections to a port are to end; with unlisted only those who
// could not open them any more.
func chooser(state policy.State, which picked, unlisted bool) func(source netip.Addr, port uint16) bool {
	now := time.Now()
	return func(source netip.Addr, port uint16) bool {
		service, protected := state.ServiceOf(policy.Port{Protocol: policy.TCP, Number: port})
		if !protected {
			return false
		}
		source = source.Unmap().WithZone("")
		entry, reason := state.Lookup(source, service.Name, now)
		return which(source, entry) && !(unlisted && reason == policy.ReasonListed)
	}
}

// cut ends the connections to the protected ports that choose picks, and counts them.
// Local clients always pass the gate and are left alone.
func cut(state policy.State, choose func(netip.Addr, uint16) bool) (int, error) {
	var ports []uint16
	for _, service := range state.Services {
		for _, port := range service.Ports {
			if port.Protocol == policy.TCP {
				ports = append(ports, port.Number)
			}
		}
	}
	ended, err := sockets.Cut(ports, func(c sockets.Conn) bool {
		return !c.Peer.Addr().IsLoopback() && c.Peer.Addr() != c.Local.Addr() && choose(c.Peer.Addr(), c.Local.Port())
	})
	return len(ended), err
}
