package reconcile

import (
	"context"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
)

// This file is how a command makes a change: nobody else makes one between what it looks at and
// what it changes.

// Turn is the engine while one command has it for itself.
type Turn struct {
	By     api.Caller
	engine *Engine
	tell   func(string)
}

// Do calls fn when no change is under way, and begins none until it returns. It returns the error of
// fn, or *policy.Refused, with nothing changed, when ctx ends before.
func (e *Engine) Do(ctx context.Context, by api.Caller, fn func(Turn) error) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.unlock()
	return fn(Turn{by, e, api.Progress(ctx)})
}

// View is what is enforced now.
func (t Turn) View() *query.View { return t.engine.enforced.View() }

// Waiting is the change that waits for its confirmation; nil where none does.
func (t Turn) Waiting() *api.Waiting { return t.engine.unsettled.waiting() }

// Change is a change as a command asks for it.
type Change struct {
	Command  string
	Verb     policy.Verb // of the guard rails that are asked; "" is none
	Force    policy.Force
	DryRun   bool
	Sessions []policy.Peer // the caller's own
	Assess   bool          // find out whom it cuts off
	Seen     string        // with Assess: an entry seen so long ago or less is in use; "" is api.DefaultSeen
	Confirm  string        // it is taken back unless confirmed within; "" is never

	Edit    desired.Edit
	Lasting []policy.Claim        // of Edit: these end so long after now, whatever the wall clock does
	Read    func() []policy.Claim // reads the list again, sorted, for the places in the text of a refusal; nil: there is none
}

// Make makes c, completely or not at all. Errors are *policy.InputError of durations that cannot be
// read, *policy.Refused of guard rails, and those of the kernel and the disk.
func (t Turn) Make(c Change) (o Outcome, err error) {
	made := change{
		by: t.By, tell: t.tell, command: c.Command, verb: c.Verb, force: c.Force, dryRun: c.DryRun, peers: c.Sessions,
		read: c.Read, edit: c.Edit, lasting: c.Lasting,
	}
	if c.Assess {
		if made.assess, err = assessed(c.Seen); err != nil {
			return o, err
		}
	}
	if made.confirm, err = window(c.Confirm); err != nil {
		return o, err
	}
	return t.engine.make(made)
}
