package reconcile_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: a change costs what it changes. What a daemon allocates for one, from the command to the
// disk, is less than twice as much among 100,000 entries as among 1,000; that the kernel is given
// everything anew, or that an answer is counted over everything, would show in it a hundred times.
func TestChangesOnABudget(t *testing.T) {
	gates := []*gate{newGate(t, 1_000), newGate(t, 100_000)}
	for _, g := range gates {
		g.start()
		g.addStopped()
	}
	for _, c := range []struct {
		name         string
		change, back func(*gate) error
	}{
		{"mode", mode(policy.Audit, "15m"), mode(policy.Enforce, "")},
		{"mode, a longer audit", mode(policy.Audit, "15m"), mode(policy.Audit, "20m")},
		{"suspend and resume", suspend, resume},
		{"add and remove", addFor("203.0.113.7", "90d"), remove("203.0.113.7")},
		{"limit", limit(7), limit(8)},
		{"add and rollback", addFor("203.0.113.9", ""), rollback},
	} {
		var octets [2][2]uint64
		for range 5 { // the least counts: now and then something else is done with one
			for i, g := range gates {
				for j, change := range []func(*gate) error{c.change, c.back} {
					octets[i][j] = least(octets[i][j], g.allocates(change))
				}
			}
		}
		for j, what := range []string{"there", "back"} {
			few, many := octets[0][j], octets[1][j]
			t.Logf("%s, %s: %d KiB among 1,000, %d KiB among 100,000", c.name, what, few>>10, many>>10)
			if many >= 2*few {
				t.Errorf("%s, %s: allocates %d bytes among 1,000 entries and %d among 100,000", c.name, what, few, many)
			}
		}
	}
}

func least(a, b uint64) uint64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// allocates is how many bytes change allocates.
func (g *gate) allocates(change func(*gate) error) uint64 {
	g.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := g.lab.Host.Do(func() error { return change(g) }); err != nil {
		g.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// addStopped adds as many prefixes of one owner, however long the list is.
func (g *gate) addStopped() {
	g.Helper()
	var prefixes []string
	for i := range 200 {
		prefixes = append(prefixes, fmt.Sprintf("198.51.%d.%d", i/100, i%100))
	}
	if _, err := g.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: prefixes, Owner: "stopped"}); err != nil {
		g.Fatal(err)
	}
	g.entries += len(prefixes)
}

func mode(to policy.Mode, lasts string) func(*gate) error {
	return func(g *gate) error {
		_, err := g.engine.Mode(context.Background(), api.Caller{}, api.ModeRequest{Mode: to, For: lasts})
		return err
	}
}

func suspend(g *gate) error {
	_, err := g.engine.Suspend(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: "stopped"}})
	return err
}

func resume(g *gate) error {
	_, err := g.engine.Resume(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: "stopped"}})
	return err
}

func addFor(prefix, lasts string) func(*gate) error {
	return func(g *gate) error {
		r := api.AddRequest{Prefixes: []string{prefix}, Owner: "globex", For: lasts}
		_, err := g.engine.Add(context.Background(), api.Caller{}, r)
		return err
	}
}

func remove(prefix string) func(*gate) error {
	return func(g *gate) error {
		_, err := g.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{prefix}})
		return err
	}
}

func limit(rate float64) func(*gate) error {
	return func(g *gate) error {
		_, err := g.engine.Limit(context.Background(), api.Caller{}, api.LimitRequest{Owner: "stopped", Limit: api.Limit{PerSecond: rate}})
		return err
	}
}

func rollback(g *gate) error {
	_, err := g.engine.Rollback(context.Background(), api.Caller{}, api.RollbackRequest{})
	return err
}
