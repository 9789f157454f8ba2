package main

// This file answers when no daemon does: the gate is in the kernel and its
// list on disk, and an operator whose daemon died must still see both.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// offlineEngine is what can be done without a daemon.
type offlineEngine interface {
	control.Reader
	control.Detacher
}

// openOffline is the pins and the state of a host.
func openOffline(bpffs, state string) offlineEngine {
	return reconcile.NewOffline(bpffs, state, buildVersion())
}

// daemonOrPins asks the daemon, and pins and state when none answers. Being
// forbidden to ask is final: the pins would say the same with worse words.
func daemonOrPins[A any](ctx context.Context, c *call, ask func(context.Context, offlineEngine) (A, error)) (A, error) {
	answer, err := ask(ctx, c.client())
	if !errors.Is(err, control.ErrNoDaemon) {
		return answer, err
	}
	bpffs, state := filepath.Clean(c.flags.Path("bpffs")), filepath.Clean(c.flags.Path("state"))
	done := c.progress().waiting("reading pins and state")
	answer, err = ask(ctx, c.offline(bpffs, state))
	done()
	if errors.Is(err, reconcile.ErrNoPins) {
		return answer, fmt.Errorf("no daemon answers on %s: %w", c.flags.Path("socket"), err)
	}
	if err == nil {
		c.note("no daemon answers on %s: read from pins and state", c.flags.Path("socket"))
	}
	return answer, err
}

// client is the daemon, which is waited for visibly.
func (c *call) client() *control.Client {
	client := control.NewClient(c.flags.Path("socket"))
	client.By = c.self()
	client.Waiting = func() (done func()) { return c.progress().waiting("waiting for the daemon") }
	return client
}
