package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Detach opens the gate on the named interfaces, on all when none is named. This
// daemon attaches none of them again; with none left it is done.
func (e *Engine) Detach(ctx context.Context, by api.Caller, r api.DetachRequest) (api.DetachResult, error) {
	if err := e.begin(ctx); err != nil {
		return api.DetachResult{}, err
	}
	defer e.unlock()
	linked, err := e.enforced.Gate.Linked()
	if err != nil {
		return api.DetachResult{}, err
	}
	if err := errors.Join(e.lastUse(), e.enforced.Usage.SaveOwners(e.disk.Store)); err != nil { // the kernel's counts may end here
		e.noteUse(err)
	}
	names := linked
	if len(r.Interfaces) > 0 {
		var unguarded string
		if names, unguarded = netdev.GuardedBy(r.Interfaces, linked); unguarded != "" {
			return api.DetachResult{}, &policy.Refused{What: fmt.Sprintf("interface %s is not guarded", unguarded), Hint: "xdpallow status"}
		}
	}
	result := api.DetachResult{Detached: []string{}, Left: []string{}}
	for _, name := range linked {
		if !slices.Contains(names, name) {
			result.Left = append(result.Left, name)
			continue
		}
		if err := e.interfaces.Detach(name); err != nil {
			return result, err
		}
		result.Detached = append(result.Detached, name)
		e.options.Log.Warn(name+": detached, everything passes", logtext.Caller(by)...)
	}
	if len(result.Detached) > 0 {
		if err := e.record(by, "detach", store.Change{}); err != nil {
			return result, fmt.Errorf("detached, and not noted in the change log: %w", err)
		}
	}
	if len(result.Left) > 0 {
		return result, nil
	}
	result.Ended = true
	if !e.life.isDone() {
		close(e.life.done)
	}
	return result, errors.Join(e.enforced.Gate.DetachBackstop(), e.enforced.Gate.Remove())
}
