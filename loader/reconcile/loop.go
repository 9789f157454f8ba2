package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	probeEvery = 10 * time.Second
	// Events of interfaces can be lost, so everything is looked at anyway.
	reconcileEvery = 30 * time.Second
)

// Run keeps the gate right until ctx ends or detach has taken the last interface:
// it follows interfaces, flies the canary, and takes ended claims out.
func (e *Engine) Run(ctx context.Context) {
	changed := loader.Watch(ctx)
	probe, reconcile := time.NewTicker(probeEvery), time.NewTicker(reconcileEvery)
	defer probe.Stop()
	defer reconcile.Stop()
	for {
		ended := e.nextEnd()
		select {
		case <-ctx.Done():
			return
		case <-e.done:
			return
		case <-changed:
			e.follow()
		case <-reconcile.C:
			e.follow()
		case <-probe.C:
			e.watch()
		case <-ended:
			e.expire()
		}
	}
}

// follow guards the named interfaces that are there and are not guarded: new ones,
// late ones, re-created ones.
func (e *Engine) follow() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mend()
}

// mend attaches what is named and not attached. The caller holds the mutex.
func (e *Engine) mend() {
	select {
	case <-e.done:
		return
	default:
	}
	if err := e.knowAddresses(); err != nil {
		e.options.Log.Error(fmt.Sprintf("follow own addresses: %v", err))
	}
	for _, name := range e.targets() {
		if at, err := e.view.gate.Inspect(name); err == nil && at.Mode != "" {
			continue
		}
		_, err := e.attach(name, e.options.Attach)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			continue
		}
		p := Problem{Code: "interface_not_attached", Subject: name, Text: strings.TrimPrefix(err.Error(), name+": ")}
		var foreign *loader.ForeignError
		if errors.As(err, &foreign) {
			p.Code, p.Hint = "interface_taken", foreign.Hint()
		}
		e.wanted[name] = p
	}
}

// watch flies the canary, and logs what became a problem and what ceased to be one.
func (e *Engine) watch() {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.problems
	e.probe()
	for _, p := range e.problems {
		if !slices.Contains(before, p) {
			e.options.Log.Error(p.String(), "problem", p.Code)
		}
	}
	for _, p := range before {
		if !slices.Contains(e.problems, p) {
			e.options.Log.Info("no longer a problem: "+p.String(), "problem", p.Code)
		}
	}
	// Somebody took our program off, of which the kernel tells nobody: the gate is
	// open until we attach again.
	if slices.ContainsFunc(e.problems, func(p Problem) bool { return p.Code == "detached" }) {
		e.mend()
	}
}

// nextEnd fires when the next claim ends, which may leave an entry to other claims.
func (e *Engine) nextEnd() <-chan time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := policy.NextEnd(allClaims(e.declared, e.claims), time.Now())
	if next.IsZero() {
		return nil
	}
	// A deadline is wall time and this timer is not: look again within the hour.
	return time.After(min(time.Until(next)+time.Millisecond, time.Hour))
}

// expire merges again without the claims that have ended. The kernel alone knows
// the latest claim of each prefix, so nobody is kept alive while we are late.
func (e *Engine) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.make(change{command: "expire"}); err != nil {
		e.options.Log.Error(fmt.Sprintf("take ended claims out: %v", err))
	}
}

func compareProblem(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Text, b.Text))
}

func originStatuses(counts map[policy.Origin]int, failing map[policy.Origin]error) []OriginStatus {
	all := []OriginStatus{}
	for _, origin := range slices.Sorted(maps.Keys(counts)) {
		s := OriginStatus{Name: origin, Entries: counts[origin]}
		if err := failing[origin]; err != nil {
			s.Error = err.Error()
		}
		all = append(all, s)
	}
	return all
}
