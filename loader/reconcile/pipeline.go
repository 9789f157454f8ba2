package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// change is one change on its way through the pipeline: parsed by who asks, then
// linted, merged, compared, guarded, published or patched, and recorded.
type change struct {
	by      api.Caller
	tell    func(string) // what the change is at; nil is nobody
	command string
	verb    policy.Verb // "" is nobody's change but time's: the guard rails are not asked
	force   policy.Force
	dryRun  bool
	peers   []policy.Peer         // the caller's own sessions
	logins  []policy.Peer         // anybody's, see Logins
	assess  time.Duration         // find out whom it cuts off; an entry seen so long ago or less is in use. 0: do not
	read    func() []policy.Claim // reads the list again, sorted, for the places in the text of a refusal; nil: there is none

	edit    desired.Edit
	lasting []policy.Claim // of edit: these end so long after now, whatever the wall clock does

	holds   *undo.Held    // nil keeps what is held
	undo    *undo.Back    // how declared is taken back
	confirm time.Duration // it is taken back unless confirmed within; 0 is never
	settle  bool          // it takes back what waits, or the last change
	aside   bool          // no rollback takes it back

	unlogged bool // it is not in the history: nobody came or went before his time

	follow []store.Followed  // kept origins but the CLI that the edit has claims of, and their states
	forget []policy.Origin   // followed origins that the edit leaves without a claim
	names  []source.Settings // what is followed from now on; nil: what was before
}

// at tells who asked what the change is at.
func (c change) at(what string) {
	if c.tell != nil {
		c.tell(what)
	}
}

// errGone is the answer to a caller who has gone.
var errGone = &policy.Refused{What: "who asked for the change had gone before it was begun: nothing was changed", Hint: "xdpallow history -n 1"}

// begin takes the mutex for a change that somebody asked for, unless he gave up while
// others had it. What is begun is finished, whoever goes: it is not left half way.
func (e *Engine) begin(ctx context.Context) error {
	api.Progress(ctx)("waiting for another change")
	e.mu.Lock()
	api.Progress(ctx)("comparing")
	e.mu.Begin()
	if ctx.Err() != nil {
		e.unlock()
		return errGone
	}
	return nil
}

// make puts c through the pipeline. On an error nothing has changed, neither in the
// kernel nor on disk. The caller holds the mutex.
func (e *Engine) make(c change) (Outcome, error) {
	if err := e.notWhileWaiting(c); err != nil {
		return Outcome{}, err
	}
	now := time.Now()
	c.at("merging with " + policy.Count(e.enforced.Policy.Entries.Len(), "prefix", "prefixes"))
	next, plan, err := e.enforced.Apply(c.edit, now, compile.Boottime())
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Plan: plan, Next: next.Policy}
	err = e.guard(c, next.Policy, plan)
	refused, known := errors.AsType[*policy.Refused](err)
	if err != nil && !(c.dryRun && c.assess > 0 && known) {
		return o, err
	}
	o.refused = refused
	if c.assess > 0 {
		o.assess(e, c, next, now)
	}
	if c.dryRun {
		return o, nil
	}
	if plan.Empty() && !c.edit.Overrules() && !e.namesNew(c) {
		c.confirm = 0 // nobody would notice a difference
	}
	if err := e.holdFirst(c); err != nil {
		return o, err
	}
	if err := e.commit(c, next, plan); err != nil {
		if c.confirm > 0 && c.undo != nil {
			err = errors.Join(err, e.disk.Apply(store.Change{Meta: map[string][]byte{stored.MetaHeld: e.unsettled.held.Marshal()}}))
		}
		return o, err
	}
	if len(o.cuts) > 0 {
		e.options.Log.Warn(c.command + " " + impact.Sum(o.cuts))
	}
	return o, nil
}

// commit makes next stand: in the kernel, on disk, and here. On an error what stood before
// does.
func (e *Engine) commit(c change, next desired.State, plan policy.Plan) error {
	e.mu.Begin()
	size := policy.Count(len(plan.Added)+len(plan.Removed)+len(plan.Changed), "change", "changes")
	c.at("bringing the kernel " + size)
	unset := e.enforced.Compiler.Deadlines.Set(c.lasting, e.enforced.Compiler.Clock)
	generation, touched, err := e.enforced.Move(next, c.edit, plan, e.disk.lastGeneration())
	if err == nil {
		c.at("recording " + size)
		err = e.persist(c, next, plan, generation)
	}
	if err != nil {
		unset()
		if touched {
			err = errors.Join(err, e.enforced.Restore(next, plan, max(e.enforced.Gate.Tables.Generation(), e.disk.lastGeneration())+1))
		}
		return err
	}
	e.enforced.Usage.Follow(plan, c.settle, time.Now())
	e.adopt(c, next)
	e.show()
	return nil
}

// adopt takes next for what is desired from now on.
func (e *Engine) adopt(c change, next desired.State) {
	rebuilt := e.enforced.Rebuilds(c.edit)
	e.enforced.State, e.timers.end = next, next.NextEnd
	if rebuilt {
		e.timers.forgetAt = e.nextForgotten()
		return
	}
	for _, claim := range c.edit.Claims.Of(policy.OriginCLI).Put {
		if !claim.Until.IsZero() {
			e.timers.forgetAt = policy.Earliest(e.timers.forgetAt, claim.Until.Add(e.options.kept()))
		}
	}
}

// onlyOverrides reports whether c suspends, resumes or limits, and does nothing else. An
// import is about more, whatever it finds to do.
func (c change) onlyOverrides() bool {
	return c.verb != policy.VerbImport && !c.settle && c.edit.OnlyOverrides()
}
