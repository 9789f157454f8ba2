package reconcile

// This file makes a change durable, in both copies of the state, before it is acknowledged.

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
)

// persist makes the change durable: who knows of it finds it after a SIGKILL.
func (e *Engine) persist(c change, next desired.State, plan policy.Plan, generation uint64) error {
	changed := generation != e.disk.lastGeneration()
	done := e.written(c, next, plan, generation)
	if err := e.enforced.Compiler.Deadlines.Record(c.edit.Claims.Of(policy.OriginCLI), done.Meta); err != nil {
		return err
	}
	if done.UndoData != nil {
		if len(c.undo.Archived()) > 0 { // changes of them are appended to the list, and not archived
			if err := e.disk.list.Save(); err != nil {
				return err
			}
		}
		if err := e.disk.ArchiveList(generation); err != nil {
			return err
		}
	}
	settings := e.effective(generation, desired.State{Policy: policy.State{Services: next.Policy.Services}})
	// What is declared is written whole, and so is what changes much.
	done.List = func() store.Effective { return e.effective(generation, next) }
	done.Whole = e.enforced.Rebuilds(c.edit) || e.disk.list.Outdated(settings) ||
		len(c.edit.Claims.Put)+len(c.edit.Claims.Remove) > max(many, next.Policy.Entries.Len()/8)
	if err := e.apply(done); err != nil {
		return err
	}
	e.recorded(c, done)
	if done.Whole {
		e.disk.list.Wrote(settings)
	} else if changed || !c.edit.Claims.Empty() || e.disk.list.Saved().Generation != generation {
		e.disk.list.SaveSoon()
	}
	return nil
}

// many is how many claims a change may name that is appended to the list; to a longer list, an eighth
// of it.
const many = 10_000

// apply records a change, and notes whether changes can be recorded.
func (e *Engine) apply(done store.Change) error {
	troubles, _, err := e.disk.Watch()
	e.trouble(troubles...)
	if err == nil {
		err = e.disk.Apply(done)
	}
	if err != nil {
		err = fmt.Errorf("record in %s: %w", e.options.State, err)
		e.noteUnwritable(err)
		return err
	}
	e.problems.Forget(api.Unwritable)
	return nil
}

// written is what is recorded of c, which leads to next.
func (e *Engine) written(c change, next desired.State, plan policy.Plan, generation uint64) store.Change {
	made := c.edit.Claims.Of(policy.OriginCLI)
	asked, held := next.SuspendedSince(e.enforced.State, c.edit.Overrides)
	done := store.Change{
		Put: made.Put, Delete: prefixesOf(made.Remove), Forget: c.forget, Generation: generation, Settle: c.settle, Meta: map[string][]byte{},
		Resume: c.edit.Overrides.Resume, Suspend: asked, Unlimit: c.edit.Overrides.Unlimit, Limit: c.edit.Overrides.Limit,
		Aside: c.aside || e.unsettled.pending != nil && c.onlyOverrides(),
	}
	if done.Aside { // what it has suspensions hold takes back nothing that was asked for
		done.Hold = held
	} else {
		done.Suspend = append(asked, held...)
	}
	for _, read := range c.follow {
		said := c.edit.Claims.Of(read.Origin)
		read.Put, read.Delete = said.Put, prefixesOf(said.Remove)
		read.State = next.Keep(read.Origin, read.State)
		done.Follow = append(done.Follow, read)
	}
	for origin := range next.SaidSince(e.enforced.State) { // what their suspensions hold has changed
		if !slices.Contains(c.forget, origin) && !slices.ContainsFunc(c.follow, func(f store.Followed) bool { return f.Origin == origin }) {
			done.Follow = append(done.Follow, store.Followed{Origin: origin, State: next.Keep(origin, e.files.followed.origins[origin].OriginState)})
		}
	}
	if e.enforced.Compiler.Owners.Unsaved { // they are thousands
		done.Meta[stored.MetaOwners] = e.enforced.Compiler.Owners.Marshal()
	}
	if c.edit.Audits != nil {
		done.Meta[stored.MetaAudits] = c.edit.Audits.Marshal()
	}
	if c.holds != nil {
		done.Meta[stored.MetaHeld] = c.holds.Marshal()
	}
	if c.names != nil {
		done.Meta[stored.MetaFollowed] = follow.Marshal(c.names)
	}
	if c.undo != nil && (c.settle || e.enforced.Rebuilds(c.edit) || e.namesOthers(c) || len(c.forget) > 0) {
		back := *c.undo
		back.Kept = generation
		done.UndoData = back.Marshal()
	}
	if c.confirm > 0 {
		done.Confirm = e.unsettled.confirmation(c.command, c.confirm)
	}
	backstop := e.backstopLine()
	if generation != e.disk.lastGeneration() && !c.unlogged || c.verb != policy.VerbFollow && !c.edit.Claims.Empty() || c.settle || backstop != "" {
		done.Log = c.logged(plan)
		if backstop != "" {
			done.Log.Services = append(done.Log.Services, backstop)
		}
		if !c.onlyOverrides() { // whose command says it all
			done.Log.Overrides = append(c.edit.Overrides.Lines(e.enforced.Overrides), c.edit.FleetLines(e.enforced.State)...)
		}
	}
	return done
}

func prefixesOf(keys []policy.ClaimKey) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(keys))
	for _, key := range keys {
		prefixes = append(prefixes, key.Prefix)
	}
	return prefixes
}

// recorded takes done, which is on disk, for what was done last.
func (e *Engine) recorded(c change, done store.Change) {
	e.enforced.Compiler.Owners.Unsaved = false
	if done.Log != nil {
		done.Log.After = done.Generation
		e.disk.last = query.ChangeOf(*done.Log)
	}
	if done.UndoData != nil {
		e.disk.PruneArchives(done.Generation)
	}
	if c.holds != nil {
		e.unsettled.held = *c.holds
	}
	if c.settle {
		e.unsettled.pending = nil
	}
	if done.Confirm != nil {
		e.await(*done.Confirm, done.Generation)
	}
}
