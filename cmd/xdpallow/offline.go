package main

// This file answers when no daemon does. The gate is in the kernel and its list on disk: an
// operator whose daemon died must see both.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/offline"
)

// offlineEngine does what is possible without a daemon.
type offlineEngine interface {
	control.Reader
	control.Detacher
}

// openOffline opens the pins and the state of a host.
func openOffline(bpffs, state string) offlineEngine {
	return pinned{offline.New(bpffs, state, buildVersion())}
}

// daemonOrPins asks the daemon, or pins and state when no daemon answers. Where the caller
// may not ask the daemon it does not try the pins, which he may not read either.
func daemonOrPins[A any](ctx context.Context, c *call, ask func(context.Context, offlineEngine) (A, error)) (A, error) {
	answer, err := ask(ctx, c.client())
	if !errors.Is(err, control.ErrNoDaemon) {
		return answer, err
	}
	bpffs, state := filepath.Clean(c.flags.Path("bpffs")), filepath.Clean(c.flags.Path("state"))
	done, out := sync.OnceFunc(c.progress().waiting("reading pins and state")), c.out.to
	c.out.to = writerFunc(func(text []byte) (int, error) { // which some answers are written to as they come
		done()
		return out.Write(text)
	})
	answer, err = ask(ctx, c.offline(bpffs, state))
	c.out.to = out
	done()
	if errors.Is(err, loader.ErrNoPins) {
		return answer, fmt.Errorf("no daemon answers on %s: %w", c.flags.Path("socket"), err)
	}
	if err == nil {
		c.note("no daemon answers on %s: read from pins and state", c.flags.Path("socket"))
	}
	return answer, err
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(text []byte) (int, error) { return w(text) }

// awaited shows what the daemon is at, until done is called.
func (c *call) awaited() (tell func(string), done func()) {
	p := c.progress()
	return p.tell, p.waiting("waiting for the daemon")
}

// client returns a client of the daemon, which shows on a terminal that it waits.
func (c *call) client() *control.Client {
	client := control.NewClient(c.flags.Path("socket"))
	client.By = c.self()
	client.Waiting = c.awaited
	return client
}
