package verbs

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
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
	shown := e.Shown()
	if r.Owner != "" {
		if err := shown.Knows(r.Owner); err != nil {
			return api.CutResult{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return api.CutResult{}, err // who asked has gone, and was not told
	}
	now, pick := time.Now(), impact.Of(subject)
	for _, peer := range r.Sessions {
		if source, protected := impact.SourceOf(shown.Policy, peer, now); protected && pick(source) {
			return api.CutResult{}, &policy.Refused{What: fmt.Sprintf("your own session comes from %s and would be cut", peer.Addr.Unmap()), Hint: "xdpallow check " + peer.Addr.Unmap().String()}
		}
	}
	n, err := impact.Disconnect(shown.Policy, now, pick)
	if err != nil {
		return api.CutResult{}, err
	}
	result := api.CutResult{Subject: subject.String(), Cut: n}
	if err := e.Record(by, "cut"); err != nil {
		return result, fmt.Errorf("connections were cut, and it is not noted in the history: %w", err)
	}
	e.log.Warn(fmt.Sprintf("cut %s of %s", policy.Count(n, "connection", "connections"), subject), logtext.Caller(by)...)
	return result, nil
}
