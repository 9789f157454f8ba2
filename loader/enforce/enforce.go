// Package enforce makes the kernel have a desired state: entries, services, and what holds for
// owners. It decides nothing; who uses it says which state, and in which order states follow.
package enforce

import (
	"errors"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/usage"
	kernel "github.com/xdpallow/xdpallow/maps"
)

// Enforced is a gate, and the state that it enforces. One goroutine uses it at a time.
type Enforced struct {
	Gate          *loader.Gate
	desired.State                   // the state is that of the kernel, or should be
	Compiler      *compile.Compiler // whose entries the kernel has
	Usage         *usage.Usage      // of the kernel's entries
	Since         *time.Time        // when counting began; nil where that is not known

	kept *store.Store
}

// New returns what gate enforces before anything is known of it. kept has how entries were
// used, and is told which owners are forgotten.
func New(gate *loader.Gate, kept *store.Store, clock compile.Clock) Enforced {
	compiler := &compile.Compiler{Clock: clock}
	return Enforced{Gate: gate, Compiler: compiler, Usage: usage.New(gate.Tables, compiler, kept.UseOf), kept: kept}
}

// View is what questions are answered from, for as long as e does not change.
func (e *Enforced) View() *query.View {
	return &query.View{
		State: e.State, Generation: e.Gate.Tables.Generation(), Gate: e.Gate, Clock: e.Compiler.Clock, Usage: e.Usage.Reader(), Since: e.Since,
	}
}

// Want is what the kernel should have.
func (e *Enforced) Want() repair.Desired { return repair.Desired{State: e.State, Compiler: e.Compiler} }

// Now is the present on the clock by which deadlines are set.
func (e *Enforced) Now() time.Time { return e.Compiler.Clock.Time(compile.Boottime()) }

// Publish makes the kernel have the state that stands, whole and as that generation. Errors are those of
// the compiler, with nothing changed, and those of maps.Tables.Publish.
func (e *Enforced) Publish(generation uint64) error {
	compiled, err := e.Compiler.Policy(e.State, generation)
	if err != nil {
		return err
	}
	used, err := e.Gate.Tables.Publish(compiled)
	e.Usage.AddRetired(used)
	return err
}

// Restore puts the kernel back to the state that stands, after Move to next by plan failed half way.
func (e *Enforced) Restore(next desired.State, plan policy.Plan, generation uint64) error {
	if plan.ServicesOnly() { // at once: a publish would leave an audit open that long
		_ = compile.SetModes(e.Gate.Tables, next, e.State, generation)
	}
	err := e.Publish(generation)
	if err = errors.Join(err, e.ruleAll()); err != nil {
		return fmt.Errorf("put the policy back: %w", err)
	}
	return nil
}

// Settle makes the kernel have the state that a start has brought back, as that generation or a
// later one. After a restart it has it already and nothing is written; after a reboot it has
// nothing.
func (e *Enforced) Settle(generation uint64) error {
	if err := e.SettleOwners(); err != nil {
		return err
	}
	same, err := e.Compiler.Same(e.Gate.Tables, e.State)
	if err != nil || same {
		return err
	}
	generation = max(generation, e.Gate.Tables.Generation())
	if err := e.Publish(generation); err != nil {
		return fmt.Errorf("publish generation %d: %w", generation, err)
	}
	return nil
}

// Move brings the kernel to next, to which edit and plan lead, and returns the generation that
// it then has; last is that of the last change on disk. The state of e stays. After an error
// with touched the kernel may be half way: see Restore. The error is *policy.Refused where there
// is no room for more owners.
func (e *Enforced) Move(next desired.State, edit desired.Edit, plan policy.Plan, last uint64) (generation uint64, touched bool, err error) {
	tables := e.Gate.Tables
	generation = tables.Generation()
	if plan.Empty() && !edit.Overrules() && !tables.Stale() {
		e.Usage.AddRetired(nil)
		return generation, false, nil
	}
	generation = max(generation, last) + 1
	if err := e.giveIDs(edit.OwnersWith(plan)); err != nil {
		return generation, false, err
	}
	// Who is stopped is stopped first, and who is let in again comes last.
	var used []kernel.Entry
	err = e.ruleOwners(edit, next, true)
	if err == nil {
		used, err = e.Compiler.Apply(tables, e.State, next, plan, generation)
	}
	if err == nil {
		err = e.ruleOwners(edit, next, false)
	}
	if err == nil {
		e.Usage.AddRetired(used)
	}
	return generation, true, err
}
