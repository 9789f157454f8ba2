// This file answers the command that ends connections.

package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Cut ends the open connections of a subject, listed or not. The policy stays: who may
// connect does so again.
func (e *Engine) Cut(ctx context.Context, by api.Caller, r api.CutRequest) (api.CutResult, error) {
	subject, err := desired.SubjectOf(r.Subject)
	if err != nil {
		return api.CutResult{}, err
	}
	if r.Owner == "" && !r.AllowAny {
		if err := policy.GuardSubject(subject.Prefix, "cut"); err != nil {
			return api.CutResult{}, err
		}
	}
	state := e.current.Load().Policy
	if ctx.Err() != nil {
		return api.CutResult{}, errGone
	}
	if r.Owner != "" {
		e.mu.Lock()
		err = e.enforced.Knows(r.Owner)
		e.unlock()
		if err != nil {
			return api.CutResult{}, err
		}
	}
	now, pick := time.Now(), impact.Of(subject)
	for _, peer := range r.Sessions {
		if source, protected := impact.SourceOf(state, peer, now); protected && pick(source) {
			return api.CutResult{}, &policy.Refused{What: fmt.Sprintf("your own session comes from %s and would be cut", peer.Addr.Unmap()), Hint: "xdpallow check " + peer.Addr.Unmap().String()}
		}
	}
	n, err := impact.Disconnect(state, now, pick)
	if err != nil {
		return api.CutResult{}, err
	}
	if err := e.logCut(by); err != nil {
		return api.CutResult{Subject: subject.String(), Cut: n}, err
	}
	e.options.Log.Warn(fmt.Sprintf("cut %s of %s", policy.Count(n, "connection", "connections"), subject), logtext.Caller(by)...)
	return api.CutResult{Subject: subject.String(), Cut: n}, nil
}

// logCut notes who cut connections, and why.
func (e *Engine) logCut(by api.Caller) error {
	e.mu.Lock()
	defer e.unlock()
	record := change{by: by, command: "cut"}.logged(policy.Plan{})
	if err := e.disk.Apply(store.Change{Log: record}); err != nil {
		return fmt.Errorf("connections were cut, and it is not noted in the history: %w", err)
	}
	record.After = e.disk.lastGeneration()
	e.disk.last = query.ChangeOf(*record)
	return nil
}

// cutOff ends the connections of those whom pick picks and who are no longer listed.
func (e *Engine) cutOff(pick func(impact.Source) bool) (int, error) {
	return impact.Disconnect(e.current.Load().Policy, time.Now(), func(source impact.Source) bool { return !source.Listed && pick(source) })
}
