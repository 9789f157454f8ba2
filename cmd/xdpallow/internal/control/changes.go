package control

// This file is the table of changes: each is a path that the daemon serves and a command asks.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Change is one thing that may be asked of a daemon: it takes a Q, and answers with an A.
type Change[Q, A any] struct {
	path string
	make func(Writer, context.Context, api.Caller, Q) (A, error)
}

// The changes.
var (
	Add      = Change[api.AddRequest, api.Listing]{"/v1/add", Writer.Add}
	Remove   = Change[api.RemoveRequest, api.Listing]{"/v1/remove", Writer.Remove}
	Replace  = Change[api.ReplaceRequest, api.Plan]{"/v1/replace", Writer.Replace}
	Import   = Change[api.ImportRequest, api.Plan]{"/v1/import", Writer.Import}
	Reload   = Change[api.ReloadRequest, api.Plan]{"/v1/reload", Writer.Reload}
	Confirm  = Change[api.ConfirmRequest, api.Waiting]{"/v1/confirm", Writer.Confirm}
	Rollback = Change[api.RollbackRequest, api.Plan]{"/v1/rollback", Writer.Rollback}
	Mode     = Change[api.ModeRequest, api.Modes]{"/v1/mode", Writer.Mode}
	Suspend  = Change[api.SuspendRequest, api.SuspendResult]{"/v1/suspend", Writer.Suspend}
	Resume   = Change[api.SuspendRequest, api.SuspendResult]{"/v1/resume", Writer.Resume}
	Limit    = Change[api.LimitRequest, api.LimitResult]{"/v1/limit", Writer.Limit}
	Cut      = Change[api.CutRequest, api.CutResult]{"/v1/cut", Writer.Cut}
	Probe    = Change[api.ProbeRequest, api.ProbePlan]{"/v1/probe", Writer.Probe}
	Detach   = Change[api.DetachRequest, api.DetachResult]{"/v1/detach", Writer.Detach}
)

// changes are those that a daemon serves.
var changes = []interface{ serve(*http.ServeMux, Writer) }{
	Add, Remove, Replace, Import, Reload, Confirm, Rollback, Mode, Suspend, Resume, Limit, Cut, Probe, Detach,
}

// Ask has the daemon of client make the change. Who asks, the daemon learns from the kernel.
func (c Change[Q, A]) Ask(ctx context.Context, client *Client, request Q) (answer A, err error) {
	text, err := json.Marshal(request)
	if err != nil {
		return answer, fmt.Errorf("write the request: %w", err)
	}
	if len(text) > maxBody {
		return answer, &policy.InputError{
			What: fmt.Sprintf("a change of %d MiB is over the limit of %d MiB", len(text)>>20, maxBody>>20),
			Hint: "xdpallow run --allow-file FILE",
		}
	}
	err = client.do(ctx, http.MethodPost, c.path, text, func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&answer)
	})
	return answer, err
}

// serve has engine make the change. A field of a request that is unknown here is an error: it
// would be a wish (a narrower scope, an end date) that this daemon silently ignores.
func (c Change[Q, A]) serve(mux *http.ServeMux, engine Writer) {
	mux.HandleFunc("POST "+c.path, func(w http.ResponseWriter, r *http.Request) {
		var request Q
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		body.DisallowUnknownFields()
		err := body.Decode(&request)
		if err != nil {
			writeError(w, &policy.InputError{What: fmt.Sprintf("read the request: %v", err)})
			return
		}
		p, _ := r.Context().Value(peerKey{}).(peer)
		if p.Command, p.Reason, err = said(r.Header); err != nil {
			writeError(w, err)
			return
		}
		if p.Most, err = strconv.Atoi(cmp.Or(r.Header.Get(headerMost), "0")); err != nil || p.Most < 0 {
			writeError(w, &policy.InputError{What: fmt.Sprintf("%s %q is no number", headerMost, r.Header.Get(headerMost))})
			return
		}
		if p.LoginUID == nil && p.UID == 0 {
			p.LoginUID = saidLogin(r.Header)
		}
		// The engine asks once, before it begins: a change is not left half way because its
		// caller pressed ^C.
		ctx, done := working(context.WithoutCancel(r.Context()), w)
		defer done() // also on a panic, after which net/http takes w away under the ticks
		answer, err := c.make(engine, attended{ctx, p.conn}, p.Caller, request)
		done()
		reply(w, answer, err)
	})
}
