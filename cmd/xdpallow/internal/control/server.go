package control

// This file serves an Engine on a listener until the daemon ends.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// shutdownGrace is how long Serve waits for running requests: a change that
// was acknowledged is already recorded, so cutting the rest loses only answers.
const shutdownGrace = 5 * time.Second

// Serve answers for engine until ctx ends, then finishes what runs and
// returns nil. It closes listener, which removes the socket.
func Serve(ctx context.Context, listener net.Listener, engine Engine) error {
	return serve(ctx, listener, engine, system)
}

func serve(ctx context.Context, listener net.Listener, engine Engine, who directory) error {
	return answer(ctx, listener, handler(engine), who.withPeer)
}

// ServeGroup answers with h, until ctx ends, for uid 0 and processes in group. It closes listener, which
// removes the socket.
func ServeGroup(ctx context.Context, listener net.Listener, group string, h func(http.ResponseWriter, *http.Request, api.Caller)) error {
	return answer(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		switch {
		case p.err != nil:
			writeError(w, forbiddenError(p.err.Error()))
		case !p.write:
			writeError(w, forbiddenError(fmt.Sprintf("uid %d is not in group %s", p.UID, group)))
		default:
			h(w, r, p.Caller)
		}
	}), system.withMember(group))
}

func answer(ctx context.Context, listener net.Listener, h http.Handler, who func(context.Context, net.Conn) context.Context) error {
	server := &http.Server{
		Handler:           h,
		ConnContext:       who,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends those who follow
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,     // of a whole request: a stuck writer frees its connection
		WriteTimeout:      5 * time.Minute, // includes the work, and a listing to a slow reader
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 16,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(limit(listener)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// ctx is over, so the grace needs a context of its own.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // a caller who says nothing is no failure of ours
	}
	<-failed // not before this is the socket surely gone
	if err != nil {
		return fmt.Errorf("end %s: %w", listener.Addr(), err)
	}
	return nil
}

// handler routes a request, after the peer was found to be allowed to make it.
func handler(engine Engine) http.Handler {
	mux := http.NewServeMux()
	lists := make(readers, mostReaders)
	mux.Handle("GET "+pathStatus, question(func(ctx context.Context, _ *http.Request) (api.Status, error) {
		return engine.Status(ctx)
	}))
	mux.Handle("GET "+pathStats, question(func(ctx context.Context, _ *http.Request) (api.Stats, error) {
		return engine.Stats(ctx)
	}))
	mux.Handle("GET "+pathOwners, question(func(ctx context.Context, _ *http.Request) (api.Owners, error) {
		return engine.Owners(ctx)
	}))
	mux.Handle("GET "+pathHistory, question(func(ctx context.Context, r *http.Request) (api.History, error) {
		last, err := number(r, "last")
		if err != nil {
			return api.History{}, err
		}
		return engine.History(ctx, last)
	}))
	mux.Handle("GET "+pathComplete, question(func(ctx context.Context, r *http.Request) ([]string, error) {
		query := r.URL.Query()
		return engine.Complete(ctx, query.Get("begin"), query.Get("made") == "true")
	}))
	mux.Handle("GET "+pathLive, question(func(ctx context.Context, r *http.Request) (api.Live, error) {
		rows, err := number(r, "rows")
		if err != nil {
			return api.Live{}, err
		}
		return engine.Live(ctx, rows)
	}))
	mux.Handle("GET "+pathOpenings, question(func(ctx context.Context, r *http.Request) (api.Openings, error) {
		return engine.Openings(ctx, r.URL.Query().Get("owner"))
	}))
	mux.Handle("GET "+pathEvents, stream(engine))
	mux.Handle("GET "+pathCheck, question(func(ctx context.Context, r *http.Request) ([]api.CheckResult, error) {
		return check(ctx, engine, r)
	}))
	mux.Handle("GET "+pathEntries, text(lists, trailerLeftOut, func(ctx context.Context, query url.Values, w io.Writer) (api.LeftOut, error) {
		req, err := listRequest(query)
		if err != nil {
			return api.LeftOut{}, err
		}
		return engine.List(ctx, req, w)
	}))
	mux.Handle("GET "+pathExport, text(lists, "", func(ctx context.Context, query url.Values, w io.Writer) (any, error) {
		return nil, engine.Export(ctx, query.Has("all"), w)
	}))
	mux.Handle("GET "+pathTable, text(lists, "", func(ctx context.Context, query url.Values, w io.Writer) (any, error) {
		return nil, engine.Table(ctx, query.Get("format"), query.Get("service"), w)
	}))
	for _, c := range changes {
		c.serve(mux, engine)
	}
	return permitted(mux)
}

// number is what the question says of key.
func number(r *http.Request, key string) (int, error) {
	text := r.URL.Query().Get(key)
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, &policy.InputError{What: fmt.Sprintf("%s %q is no number", key, text)}
	}
	return int(n), nil
}

// permitted lets readers GET and writers do everything, before any of the
// request's body is read.
func permitted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		switch {
		case p.err != nil:
			writeError(w, forbiddenError(p.err.Error()))
		case !p.read:
			writeError(w, forbiddenError(fmt.Sprintf("uid %d is not in group %s", p.UID, ReadGroup)))
		case r.Method != http.MethodGet && !p.write:
			writeError(w, forbiddenError(fmt.Sprintf("uid %d is not in group %s and may only read", p.UID, AdminGroup)))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// question answers with what ask returns.
func question[A any](ask func(context.Context, *http.Request) (A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := working(r.Context(), w)
		defer done() // also on a panic
		answer, err := ask(ctx, r)
		done()
		reply(w, answer, err)
	})
}

// saidLogin is who had logged in, by the word of the caller: a daemon without rights may not
// read it of other processes, and the caller may read it of itself.
func saidLogin(header http.Header) *uint32 {
	n, err := strconv.ParseUint(header.Get(headerLogin), 10, 32)
	if err != nil {
		return nil
	}
	uid := uint32(n)
	return &uid
}

// said is what the caller says of a change.
func said(header http.Header) (command, reason string, err error) {
	command, commandErr := url.QueryUnescape(header.Get(headerCommand))
	reason, reasonErr := url.QueryUnescape(header.Get(headerReason))
	if err := errors.Join(commandErr, reasonErr, policy.ParseNote(reason)); err != nil {
		return "", "", &policy.InputError{What: fmt.Sprintf("the reason for a change: %v", err)}
	}
	return command, reason, nil
}

func reply(w http.ResponseWriter, answer any, err error) {
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // fails only when the caller hung up
}

func check(ctx context.Context, engine Reader, r *http.Request) ([]api.CheckResult, error) {
	query := r.URL.Query()
	addrs := []netip.Addr{}
	for _, text := range query["address"] {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, &policy.InputError{What: fmt.Sprintf("%q is not an address", text)}
		}
		addrs = append(addrs, addr)
	}
	if !query.Has("port") {
		return engine.Check(ctx, addrs, nil)
	}
	port, err := policy.ParsePort(query.Get("port"))
	if err != nil {
		return nil, &policy.InputError{What: err.Error()}
	}
	return engine.Check(ctx, addrs, &port)
}
