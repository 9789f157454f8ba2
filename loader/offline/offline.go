// Package offline does what works without a daemon: it answers from pins and state, detaches,
// and says what a start would change. The gate is in the kernel and its list on disk, and an
// operator whose daemon died must still see both.
package offline

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
	"github.com/xdpallow/xdpallow/loader/usage"
)

// Gate is the gate that is up, or not, without a daemon.
type Gate struct {
	query.Answers
	root, state, version string
}

// New returns the gate of a pin root and a state directory, which are opened when it is asked.
func New(root, state, version string) Gate {
	g := Gate{root: root, state: state, version: version}
	g.Answers = func(fn func(*query.View) error) error { return g.ask(func(s *seen) error { return fn(&s.View) }) }
	return g
}

// seen is what there is of a gate.
type seen struct {
	query.View
	compiler *compile.Compiler
	last     *api.Change
	waits    *api.Waiting // what nobody has confirmed
	followed follow.Origins
}

// ask calls fn with what there is, and closes that afterwards. Errors are loader.ErrNoPins,
// those of store.OpenReadOnly, *policy.Refused where there is no list of the gate that is up, and
// that of fn.
func (g Gate) ask(fn func(*seen) error) error {
	gate, err := loader.OpenReader(g.root)
	if err != nil {
		return err
	}
	defer gate.Close()
	s := seen{View: query.View{Gate: gate, Generation: gate.Tables.Generation()}}
	if err := g.read(&s); err != nil {
		return err
	}
	return fn(&s)
}

// read reads the state into s. The database is closed before anybody asks s.
func (g Gate) read(s *seen) error {
	kept, err := store.OpenReadOnly(g.state)
	if err != nil {
		return err
	}
	defer kept.Close()
	now := time.Now()
	was, err := stored.Read(kept, compile.NewClock(now, compile.Boottime()))
	if err != nil && !errors.As(err, new(*store.TornError)) {
		return err
	}
	if len(was.Last.Services) == 0 {
		return &policy.Refused{
			What: fmt.Sprintf("a gate is up under %s, but %s holds no list of it", g.root, g.state), Hint: "--state DIR",
		}
	}
	s.followed = follow.Kept(was.Origins)
	if s.State, err = was.State(now); err != nil {
		return err
	}
	if last, found, err := kept.LastRecord(); err != nil {
		return err
	} else if found {
		s.last = query.ChangeOf(last)
	}
	if was.Pending != nil {
		bootID, _ := store.BootID()
		s.waits = query.WaitingOf(*was.Pending, was.Pending.Left(now, bootID, compile.Boottime()))
	}
	s.Clock, s.compiler = was.Clock, &compile.Compiler{Clock: was.Clock, Owners: was.Owners, Deadlines: was.Deadlines}
	known := map[netip.Prefix]store.Use{}
	used := usage.New(s.Gate.Tables, s.compiler, func([]netip.Prefix) (map[netip.Prefix]store.Use, error) { return known, nil })
	if _, err := used.BeginOwners(kept); err != nil {
		return err
	}
	err = errors.Join(stored.Value(kept, store.MetaSince, &s.Since), used.Begin(kept),
		kept.EachUse(func(prefix netip.Prefix, use store.Use) { known[prefix] = use }))
	s.Usage = used.Reader()
	return err
}

// Status says what is up, and runs the canary. Errors are those of ask.
func (g Gate) Status(context.Context) (status api.Status, err error) {
	err = g.ask(func(s *seen) error {
		want := repair.Desired{State: s.State, Compiler: s.compiler}
		o := repair.Observe(s.Gate, repair.ReadHost(s.Policy.Services), want)
		status = s.Status(nil, s.followed)
		status.Problems = repair.Problems(repair.Diagnose(o, want))
		status.Enforcing = repair.Enforcing(status.Problems)
		status.Interfaces, status.Backstop = o.Report(), o.ReportBackstop()
		status.Uncovered, status.Routed = o.Links.Uncovered(s.Gate.Attached())
		status.LastChange, status.Confirm, status.Version = s.last, s.waits, g.version
		return nil
	})
	return status, err
}

// Detach opens the gate without a daemon. Errors are those of loader.DetachRoot, and that the change
// log could not be written: the result holds what was detached all the same.
func (g Gate) Detach(_ context.Context, by api.Caller, r api.DetachRequest) (api.DetachResult, error) {
	detached, left, err := loader.DetachRoot(g.root, r.Interfaces)
	err = errors.Join(err, g.logDetach(by, detached))
	return api.DetachResult{Detached: append([]string{}, detached...), Left: append([]string{}, left...)}, err
}

// logDetach notes who opened the gate, where there is a state to note it in.
func (g Gate) logDetach(by api.Caller, detached []string) error {
	if _, err := os.Stat(g.state); errors.Is(err, os.ErrNotExist) || len(detached) == 0 {
		return nil
	}
	kept, err := store.Open(g.state)
	if err == nil {
		err = errors.Join(kept.Apply(store.Change{Log: query.RecordOf(by, "detach", policy.Plan{})}), kept.Close())
	}
	if err != nil {
		return fmt.Errorf("detached, and not noted in the change log: %w", err)
	}
	return nil
}

// History tells what was changed. It needs no pins: what was done is worth knowing when the
// gate is open, too. Errors are those of store.OpenReadOnly, of reading, and where nothing was ever
// changed loader.ErrNoPins.
func (g Gate) History(_ context.Context, last int) (api.History, error) {
	kept, err := store.OpenReadOnly(g.state)
	if err != nil {
		return api.History{}, err
	}
	defer kept.Close()
	h, err := query.History(kept, last)
	if err != nil || len(h.Changes) > 0 {
		return h, err
	}
	gate, err := loader.OpenReader(g.root) // nothing was ever done here, or this is not the place
	if err == nil {
		err = gate.Close()
	}
	return h, err
}
