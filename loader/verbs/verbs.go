// Package verbs has the commands that change the list: what each asks of the engine, which makes the
// change, and what it answers and logs. What each refuses is in package desired.
//
// Errors are *policy.InputError, *policy.Refused, and those of the kernel and the disk. The list was not changed
// then, but for one of Remove or Suspend with Cut, whose text begins with what was done.
package verbs

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// Engine is an engine with all its commands. Its methods may be called from several goroutines.
type Engine struct {
	*reconcile.Engine
	log *slog.Logger
}

// Open opens an engine. Errors are those of reconcile.Open.
func Open(o reconcile.Options) (*Engine, error) {
	engine, err := reconcile.Open(o)
	if err != nil {
		return nil, err
	}
	return &Engine{engine, o.Log}, nil
}

// listing is entries as they stand now.
func listing(t reconcile.Turn, entries []policy.Entry) api.Listing {
	v := t.View()
	return api.Listing{Generation: v.Generation, Total: v.Policy.Entries.Len(), Entries: v.Entries(entries)}
}

// standing are the entries of state that claims are part of, sorted.
func standing(claims []policy.Claim, state policy.State) []policy.Entry {
	var entries []policy.Entry
	for _, claim := range claims {
		if entry, found := state.Entries.Find(claim.Prefix); found {
			entries = append(entries, *entry)
		}
	}
	slices.SortFunc(entries, func(a, b policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return entries
}

// cutOff ends the connections of those whom pick picks and who are no longer listed.
func (e *Engine) cutOff(pick func(impact.Source) bool) (int, error) {
	return impact.Disconnect(e.Shown().Policy, time.Now(), func(source impact.Source) bool { return !source.Listed && pick(source) })
}

// changed logs what by did, and the generation after it.
func (e *Engine) changed(t reconcile.Turn, format string, args ...any) {
	e.log.Info(fmt.Sprintf(format, args...)+fmt.Sprintf(": generation %d", t.View().Generation), logtext.Caller(t.By)...)
}
