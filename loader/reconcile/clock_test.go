package reconcile_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// Promise: a step of the wall clock moves the end of what was added
// --until, and never of what was added --for; one of over an hour moves nothing and is
// a problem, until reload takes it over; a restart in between makes no difference. And
// add again extends.
func TestClockSteps(t *testing.T) {
	const lasting, dated = "198.51.100.0/24", "192.0.2.0/24"
	const day = 24 * time.Hour
	g := newGate(t, 3)
	g.start()
	add := func(r api.AddRequest) {
		t.Helper()
		labtest.Must(g.engine.Add(context.Background(), api.Caller{}, r))(t)
	}
	ends := func(prefix string) time.Duration {
		t.Helper()
		return labtest.Must(g.engine.End(netip.MustParsePrefix(prefix)))(t)
	}
	add(api.AddRequest{Prefixes: []string{lasting}, For: "90d"})
	first := ends(lasting)
	add(api.AddRequest{Prefixes: []string{lasting}, For: "180d"})
	if more := ends(lasting) - first; (more - 90*day).Abs() > time.Minute {
		t.Errorf("add again has extended an entry by %v, want 90 days", more)
	}
	add(api.AddRequest{Prefixes: []string{dated}, Until: time.Now().Add(90 * day).UTC().Format(time.RFC3339)})
	g.entries += 2
	fixed, until := ends(lasting), ends(dated)

	expect := func(when string, moved time.Duration, problem bool) {
		t.Helper()
		if got := ends(lasting); got != fixed {
			t.Errorf("%s: what was added --for ends %v later", when, got-fixed)
		}
		if got := ends(dated) - until; (got - moved).Abs() > 2*time.Second {
			t.Errorf("%s: what was added --until ends %v later, want %v", when, got, moved)
		}
		status := labtest.Must(g.engine.Snapshot(context.Background()))(t)
		if found := slices.ContainsFunc(status.Problems, func(p api.Problem) bool { return p.Code == "clock_stepped" }); found != problem {
			t.Errorf("%s: problems %+v, want clock_stepped: %v", when, status.Problems, problem)
		}
	}
	restart := func() {
		t.Helper()
		g.stop()
		g.start()
		g.engine.FollowClock()
	}
	for _, sign := range []time.Duration{1, -1} {
		reconcile.StepClock(sign * 30 * time.Minute)
		g.engine.FollowClock()
		expect("a small step", -sign*30*time.Minute, false)
		restart()
		expect("a small step and a restart", -sign*30*time.Minute, false)

		reconcile.StepClock(sign * 3 * time.Hour)
		g.engine.FollowClock()
		expect("a huge step", -sign*30*time.Minute, true)
		restart()
		expect("a huge step and a restart", -sign*30*time.Minute, true)
		if err := g.lab.Host.Do(func() error {
			_, err := g.engine.Reload(context.Background(), api.Caller{}, api.ReloadRequest{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		g.engine.FollowClock()
		expect("a huge step and a reload", -sign*210*time.Minute, false)
		restart()
		expect("a huge step, a reload and a restart", -sign*210*time.Minute, false)

		// While no daemon runs it is the same.
		g.stop()
		reconcile.StepClock(-sign * 210 * time.Minute)
		g.start()
		g.engine.FollowClock()
		expect("a huge step while no daemon ran", -sign*210*time.Minute, true)
		if err := g.lab.Host.Do(func() error {
			_, err := g.engine.Reload(context.Background(), api.Caller{}, api.ReloadRequest{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		g.engine.FollowClock()
		expect("there and back", 0, false)
	}
}

// Promise: nothing of a refused change stays. A refused add --for leaves the deadline of
// an entry that --for made before where it is, through a step of the clock and a restart,
// and a refused reload does not take over a huge step of the wall clock.
func TestRefusedChangesMoveNoDeadline(t *testing.T) {
	const lasting, dated, wide = "198.51.100.0/24", "192.0.2.0/24", "64.0.0.0/7"
	const day = 24 * time.Hour
	g := newGate(t, 3)
	list := filepath.Join(t.TempDir(), "a.list")
	g.options.Files = []string{list}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	g.start()
	add := func(r api.AddRequest) error {
		_, err := g.engine.Add(context.Background(), api.Caller{}, r)
		return err
	}
	ends := func(prefix string) time.Duration {
		t.Helper()
		return labtest.Must(g.engine.End(netip.MustParsePrefix(prefix)))(t)
	}
	for _, r := range []api.AddRequest{
		{Prefixes: []string{lasting}, For: "90d"},
		{Prefixes: []string{dated}, Until: time.Now().Add(90 * day).UTC().Format(time.RFC3339)},
	} {
		if err := add(r); err != nil {
			t.Fatal(err)
		}
	}
	g.entries += 2
	fixed := ends(lasting)

	if err := add(api.AddRequest{Prefixes: []string{lasting, wide}, For: "1h"}); err == nil {
		t.Fatal("a prefix wider than /8 is added without --allow-any")
	}
	reconcile.StepClock(30 * time.Minute)
	t.Cleanup(func() { reconcile.StepClock(-30 * time.Minute) })
	g.engine.FollowClock()
	if got := ends(lasting); got != fixed {
		t.Errorf("after a refused add --for and a step of the clock it ends %v later", got-fixed)
	}
	g.stop()
	g.start()
	g.engine.FollowClock()
	if got := ends(lasting); got != fixed {
		t.Errorf("after a refused add --for and a restart it ends %v later", got-fixed)
	}

	until := ends(dated)
	write("192.0.2.300\n")
	reconcile.StepClock(3 * time.Hour)
	t.Cleanup(func() { reconcile.StepClock(-3 * time.Hour) })
	g.engine.FollowClock()
	if _, err := g.engine.Reload(context.Background(), api.Caller{}, api.ReloadRequest{}); err == nil {
		t.Fatal("a bad line is reloaded")
	}
	if got := ends(dated); got != until {
		t.Errorf("a refused reload has moved the end of an entry by %v", got-until)
	}
}
