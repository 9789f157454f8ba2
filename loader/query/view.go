// Package query answers questions about the gate: which entries there are and how they were
// used, what happens to a source and why, what was counted, who owns what. It answers from
// the state that the gate should be in, from the kernel, and from what is on disk; it changes
// nothing, and needs no daemon.
package query

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/store"
)

// View is what questions are answered from. It does not change: many may ask it at a time.
type View struct {
	desired.State        // that of the kernel, or what it should be
	Generation    uint64 // of State
	Gate          *loader.Gate
	Clock         compile.Clock
	Usage         Usage
	Since         *time.Time // when counting began; nil where that is not known
}

// Usage tells how entries and owners were used, since they were first enforced: over
// publishes, restarts and reboots.
type Usage interface {
	// Of returns how each of prefixes was used, in their order. Of whom enough, which may be
	// nil, says so by what is at hand, no later use is looked for.
	Of(prefixes []netip.Prefix, enough func(store.Use) bool) ([]store.Use, error)

	// Owner returns what was counted for an owner; zeros for one who is not known.
	Owner(name string) (store.OwnerUse, error)
}

// Now is the time by the clock that the kernel's deadlines were made with.
func (v *View) Now() time.Time { return v.Clock.Time(compile.Boottime()) }
