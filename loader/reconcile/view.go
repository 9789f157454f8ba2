package reconcile

import (
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/usage"
)

// view is the gate and the state that it should be in.
type view struct {
	gate          *loader.Gate
	desired.State                   // the state is that of the kernel, or should be
	compiler      *compile.Compiler // whose entries the kernel has
	usage         *usage.Usage      // of the kernel's entries
	since         *time.Time
}

// newView looks at gate, of whose entries saved tells how they were used.
func newView(gate *loader.Gate, saved usage.Saved) view {
	compiler := &compile.Compiler{Clock: readClock()}
	return view{gate: gate, compiler: compiler, usage: usage.New(gate.Tables, compiler, saved)}
}

// query is v as package query has it, for as long as v does not change.
func (v *view) query() *query.View {
	return &query.View{
		State: v.State, Generation: v.gate.Tables.Generation(), Gate: v.gate, Clock: v.compiler.Clock, Usage: v.usage.Reader(), Since: v.since,
	}
}

// want is what the kernel should have.
func (v *view) want() repair.Desired { return repair.Desired{State: v.State, Compiler: v.compiler} }

// wallNow is a variable so that tests can step the wall clock, which belongs to
// everybody on the host.
var wallNow = time.Now

func readClock() compile.Clock { return compile.NewClock(wallNow(), compile.Boottime()) }

// now is the present on the clock by which deadlines are set.
func (v *view) now() time.Time { return v.compiler.Clock.Time(compile.Boottime()) }
