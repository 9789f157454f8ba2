package control

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// laborious is an engine whose replace takes as long as the test wants, and tells what it is at.
type laborious struct {
	Engine
	end chan struct{}
}

func (s laborious) Replace(ctx context.Context, by api.Caller, _ api.ReplaceRequest) (api.Plan, error) {
	api.Progress(ctx)("publishing 3 prefixes")
	<-s.end
	return api.Plan{Generation: uint64(by.Most)}, nil
}

// served serves engine until the test ends, and returns the path of its socket.
func served(t *testing.T, engine Engine) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, engine) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// Promise: a client does not give up on a change that the daemon works at, is told at what, and
// gives up on a daemon that has stopped or is gone. How many entries it wants to be told reaches
// the engine.
func TestClientWaitsForWork(t *testing.T) {
	engine := laborious{end: make(chan struct{})}
	socket := served(t, engine)
	var mu sync.Mutex
	var told []string
	client := NewClient(socket)
	client.silence, client.By.Most = 1500*time.Millisecond, 7
	client.Waiting = func() (func(string), func()) {
		return func(text string) {
			mu.Lock()
			defer mu.Unlock()
			if told = append(told, text); len(told) == 4 { // over twice what a silent one is given
				close(engine.end)
			}
		}, func() {}
	}
	plan, err := Replace.Ask(t.Context(), client, api.ReplaceRequest{})
	if err != nil || plan.Generation != 7 {
		t.Errorf("answered with %+v, %v", plan, err)
	}
	if len(told) != 4 || len(slices.Compact(told)) != 1 || told[0] != "publishing 3 prefixes" {
		t.Errorf("told %q", told)
	}

	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  error
	}{
		"stopped": {func(conn net.Conn) { t.Cleanup(func() { conn.Close() }) }, errSilent},
		"killed":  {func(conn net.Conn) { conn.Close() }, nil},
	} {
		socket := filepath.Join(t.TempDir(), "s")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			if conn, err := listener.Accept(); err == nil {
				c.serve(conn)
			}
		}()
		client := NewClient(socket)
		client.silence = 100 * time.Millisecond
		_, err = Replace.Ask(t.Context(), client, api.ReplaceRequest{})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// clumsy is an engine that panics in a change.
type clumsy struct{ Engine }

func (clumsy) Replace(context.Context, api.Caller, api.ReplaceRequest) (api.Plan, error) {
	panic("a fault of ours")
}

// Promise: a fault in one change ends that request, and not the daemon, which says each second
// of a change that it works.
func TestPanicEndsOneRequest(t *testing.T) {
	socket := served(t, clumsy{})
	for range 2 {
		if _, err := Replace.Ask(t.Context(), NewClient(socket), api.ReplaceRequest{}); err == nil {
			t.Error("a change that panicked was answered")
		}
		time.Sleep(word + word/2) // a word that is said now would end the process: there is nothing to wait for
	}
}
