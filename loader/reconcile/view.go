package reconcile

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// view answers questions from a gate and the state that it should be in, with or
// without a daemon behind it.
type view struct {
	gate          *loader.Gate
	desired.State                  // the state is that of the kernel, or should be
	compiler      compile.Compiler // whose entries the kernel has
	uses          usage
	kept          *store.Store               // has what is known of their use; or else
	known         map[netip.Prefix]store.Use // is all of it
	since         *time.Time
	waits         *Waiting // what nobody has confirmed, where no engine knows it
	ownerCounts   ownerCounts
}

// query is v as package query has it, for as long as v does not change.
func (v *view) query() *query.View {
	return &query.View{
		State: v.State, Generation: v.gate.Tables.Generation(), Gate: v.gate, Clock: v.compiler.Clock, Usage: v, Since: v.since,
	}
}

// saved is what the database knows of the use of prefixes.
func (v *view) saved(prefixes []netip.Prefix) (map[netip.Prefix]store.Use, error) {
	if v.kept == nil {
		return v.known, nil
	}
	return v.kept.UseOf(prefixes)
}

// want is what the kernel should have.
func (v *view) want() repair.Desired { return repair.Desired{State: v.State, Compiler: &v.compiler} }
