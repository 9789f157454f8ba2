package reconcile

// This file brings back what an earlier daemon knew: the last good policy, and what it counted,
// waited for and held.

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// recover brings back the last good policy from what the store has now: what was
// declared, and what the CLI made. It reports whether there is one.
func (e *Engine) recover() (bool, error) {
	was, err := stored.Read(e.disk.Store, readClock())
	if err != nil {
		return false, err
	}
	e.enforced.Compiler.Clock, e.enforced.Compiler.Owners, e.enforced.Compiler.Deadlines = was.Clock, was.Owners, was.Deadlines
	if err := e.keepClock(); err != nil {
		e.noteUnwritable(err)
	}
	if was.Over != nil {
		e.bookkeep(was.Over)
	}
	e.files.followed.origins, e.files.followed.settings = follow.Kept(was.Origins), was.Followed
	e.keepBackstop(was.Last)
	if e.enforced.State, err = was.State(time.Now()); err != nil {
		return false, err
	}
	if !was.Good() {
		return false, e.enforced.SettleOwners()
	}
	e.lastGood(was.Last)
	e.disk.list.Read(was.Last)
	if err := e.holdUnnoted(); err != nil {
		return false, err
	}
	e.endOldAudits()
	if e.unsettled.held = was.Held; was.Pending != nil {
		e.await(*was.Pending, was.Pending.Generation)
	}
	if err := e.guardOlder(e.enforced.State, was.Last.Generation); err != nil {
		return false, err
	}
	e.timers.forgetAt = e.nextForgotten()
	e.timers.end = e.enforced.NextEnd
	return true, e.settleConfirmed(was.Last.Generation)
}

// keepClock notes by which clock deadlines are set.
func (e *Engine) keepClock() error {
	meta, err := stored.ClockMeta(e.enforced.Compiler.Clock)
	if err == nil {
		err = e.disk.Apply(store.Change{Meta: meta})
	}
	return err
}

// settleConfirmed is settle but for a change that nobody confirmed in time: no packet is
// judged by that after a reboot. The database, where the rollback is recorded, may not be
// open yet.
func (e *Engine) settleConfirmed(generation uint64) error {
	if e.unsettled.pending == nil || e.unsettled.left() > 0 {
		return e.settle(generation)
	}
	c, err := e.inverse()
	if err != nil {
		return e.settle(generation)
	}
	next, _, err := e.enforced.Apply(c.edit, time.Now(), compile.Boottime())
	if err != nil {
		return e.settle(generation)
	}
	stands := e.enforced.State
	e.enforced.State = next
	err = e.settle(generation)
	e.enforced.State = stands
	return err
}

// recallCounts brings back what was counted and noted, which decides on no packet.
func (e *Engine) recallCounts() error {
	meta, err := e.enforced.Usage.BeginOwners(e.disk.Store)
	if err != nil {
		return err
	}
	if meta != nil {
		e.bookkeep(meta)
	}
	if last, found, err := e.disk.LastRecord(); err != nil {
		return err
	} else if found {
		e.disk.last = query.ChangeOf(last)
	}
	if err := errors.Join(e.countSince(), e.enforced.Usage.Begin(e.disk.Store)); err != nil {
		return err
	}
	return e.Observer.Load(e.disk.Store)
}

// lastGood takes from the last good policy what a config file that cannot be read
// would have said.
func (e *Engine) lastGood(last store.Effective) {
	if len(e.options.Interfaces) == 0 {
		e.options.Interfaces = last.Interfaces
	}
	if e.options.Attach == "" {
		e.options.Attach = loader.Mode(last.Attach)
	}
	if e.options.Backstop == "" {
		e.options.Backstop = last.Backstop
	}
}

// settle makes the kernel have the recovered state.
func (e *Engine) settle(generation uint64) error {
	e.mu.Begin()
	return e.enforced.Settle(max(generation, e.disk.lastGeneration()))
}

// guardOlder compares next, which the files of the state say as of generation, with what
// a gate that is up enforces. It returns *policy.Refused where next would let in whom the
// gate drops, or cut most of its entries off, and this start has no flag for that; the
// gate then stays as it is. Anything less is a problem. One generation more in the kernel
// is a change that was under way when the daemon was killed, and was never acknowledged.
func (e *Engine) guardOlder(next desired.State, generation uint64) error {
	tables := e.enforced.Gate.Tables
	if enforced := tables.Generation(); !e.life.stood || tables.Stale() || enforced <= generation+1 {
		return nil
	}
	difference, err := e.enforced.Compare(next)
	if err != nil || difference.String() == "" {
		return err
	}
	text := fmt.Sprintf("state.db and effective.list are older than what is enforced (generation %d, and %d), or missing: they would %s",
		generation, tables.Generation(), difference)
	what := fmt.Sprintf("%s: %s; put newer copies of them there, or say that these are meant", e.options.State, text)
	if err := difference.Guard(what, e.options.Force); err != nil {
		return err
	}
	e.trouble(store.Trouble{Path: e.options.State, Text: text, Hint: "xdpallow list"})
	return nil
}

// countSince notes when counting began: with the first attachment of this root.
func (e *Engine) countSince() error {
	linked, err := e.enforced.Gate.Linked()
	if err != nil {
		return err
	}
	if len(linked) > 0 {
		if err := stored.Value(e.disk.Store, store.MetaSince, &e.enforced.Since); err != nil || e.enforced.Since != nil {
			return err
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	text, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("note the start of counting: %w", err)
	}
	e.enforced.Since = &now
	e.bookkeep(map[string][]byte{store.MetaSince: text})
	return nil
}

// holdUnnoted has suspensions that the database has from an old release hold what the
// last good policy says of their owners, before any file is read.
func (e *Engine) holdUnnoted() error {
	was := e.enforced.State
	e.enforced.State = was.HoldUnnoted(time.Now())
	_, fresh := e.enforced.SuspendedSince(was, desired.OverridesEdit{})
	if len(fresh) == 0 {
		return nil
	}
	return e.disk.Apply(store.Change{Hold: fresh, Aside: true})
}
