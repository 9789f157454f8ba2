package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file takes over what followed origins say. What was taken over last is enforced for ever,
// whatever becomes of an origin: its readings can change the list, and nothing else.

// followed are the lists that are kept elsewhere.
type followed struct {
	origins  follow.Origins
	settings []source.Settings // of the config file, as it was taken over last; nil: not known
	group    *source.Group     // nil before Run
	ctx      context.Context   // of Run
	changes  int               // of what origins claim, since the start
}

// pace is how long the next reading waits after one that took so long: an origin that changes all
// the time leaves the engine to others.
func pace(took time.Duration) time.Duration {
	return min(max(200*time.Millisecond, 5*took), time.Minute)
}

// rest waits, or until ctx ends. It is a variable so that tests see how long and do not wait.
var rest = func(ctx context.Context, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// recordSeen is how long after the last one it is recorded that an origin was seen.
const recordSeen = time.Hour

// beginToFollow follows what the config file names, until ctx ends.
func (e *Engine) beginToFollow(ctx context.Context) (wait func()) {
	e.mu.Lock()
	defer e.unlock()
	e.files.followed.ctx, e.files.followed.group = ctx, source.NewGroup(e.options.Follower, e.have, e.take)
	e.files.followed.group.Follow(ctx, e.files.followed.settings)
	return e.files.followed.group.Wait
}

// have is what is kept of an origin.
func (e *Engine) have(origin policy.Origin) source.Have {
	e.mu.Lock()
	defer e.unlock()
	one := e.files.followed.origins[origin]
	claims := slices.Collect(e.enforced.Of(origin))
	slices.SortFunc(claims, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return source.Have{Claims: claims, Mark: one.Mark, Sum: one.Sum, At: one.At, Fleet: one.Fleet, Manifest: one.Manifest}
}

// take takes a reading over, completely or not at all, and returns when the next may come.
func (e *Engine) take(ctx context.Context, r source.Reading) error {
	start := time.Now()
	changed, err := e.taken(ctx, r)
	if changed {
		rest(ctx, pace(time.Since(start)))
	}
	return err
}

func (e *Engine) taken(ctx context.Context, r source.Reading) (changed bool, err error) {
	found, as := e.compare(r)
	return e.takeCompared(ctx, r, found, as)
}

// takeCompared takes r over, which changes what found says if lists have made no more changes than as.
func (e *Engine) takeCompared(ctx context.Context, r source.Reading, found *policy.Edit, as int) (changed bool, err error) {
	if err := e.begin(ctx); err != nil {
		return false, err
	}
	defer e.unlock()
	one, known := e.files.followed.origins[r.Origin]
	if !known {
		return false, errGone // reload forgot it meanwhile
	}
	for _, warning := range r.Warnings {
		e.options.Log.Warn(fmt.Sprintf("%s: %s", r.Origin, warning))
	}
	if r.Err != nil {
		e.failing(r.Origin, one, r.Err)
		return false, nil
	}
	if r.Edit == nil && as == e.files.followed.changes {
		r.Edit = found
	}
	changed, err = e.takeEdit(r, one)
	if refused, ok := errors.AsType[*policy.Refused](err); ok {
		err = follow.Refusal(refused)
	}
	if err != nil {
		e.failing(r.Origin, one, err)
		return false, err
	}
	if one.Failing != nil {
		e.options.Log.Info(fmt.Sprintf("%s: is taken over again", r.Origin))
	}
	e.files.followed.origins[r.Origin] = one.Seen(r, wallNow())
	return changed, nil
}

// compare finds what a whole list changes, while others make changes: a million lines take a second. It
// is so as long as lists have made no more changes than it returns.
func (e *Engine) compare(r source.Reading) (edit *policy.Edit, changes int) {
	if r.Edit != nil || r.Err != nil {
		return r.Edit, 0
	}
	e.mu.Lock()
	state, changes := e.enforced.State, e.files.followed.changes
	e.unlock()
	found := state.Follow(r.Origin, r.Claims)
	return &found, changes
}

// failing notes why a reading was not taken over, and says so once.
func (e *Engine) failing(origin policy.Origin, one follow.Origin, err error) {
	if one.Failing == nil || one.Failing.Error() != err.Error() {
		e.options.Log.Error(fmt.Sprintf("%s: %s", origin, one.NotTaken(err)), "problem", follow.Code(err))
	}
	one.Failing, one.Force = err, policy.Force{} // a flag is for one reading, also for one that failed
	e.files.followed.origins[origin] = one
}

// takeEdit makes the change that r asks for. It reports whether the gate is another one now.
func (e *Engine) takeEdit(r source.Reading, one follow.Origin) (changed bool, err error) {
	edit := policy.Edit{}
	if r.Edit != nil {
		edit = *r.Edit
	} else {
		edit = e.enforced.Follow(r.Origin, r.Claims)
	}
	over := desired.OverridesEdit{}
	if r.Overrides != nil {
		over = e.enforced.Say(r.Origin, follow.Suspensions(*r.Overrides), follow.Limits(*r.Overrides))
	}
	before, state := e.enforced.Gate.Tables.Generation(), one.Seen(r, wallNow()).OriginState
	// Whoever is stopped waits for no long list, and is stopped though the list is refused.
	if hasty, rest := over.Hasty(e.enforced.Fleets[r.Origin]); !hasty.Empty() && !edit.Empty() {
		if err := e.takeChange(r, one, one.OriginState, policy.Edit{}, hasty); err != nil {
			return false, err
		}
		over = rest
	}
	switch {
	case !edit.Empty() || !over.Empty():
		err = e.takeChange(r, one, state, edit, over)
	case state.Differs(one.OriginState) || state.At.Sub(one.At) >= recordSeen:
		err = e.apply(store.Change{Follow: []store.Followed{{Origin: r.Origin, State: e.enforced.Keep(r.Origin, state)}}})
	}
	return e.enforced.Gate.Tables.Generation() != before, err
}

// takeChange makes the change to what an origin claims, and to what it says over all origins, which
// leads it to state.
func (e *Engine) takeChange(r source.Reading, one follow.Origin, state store.OriginState, edit policy.Edit, over desired.OverridesEdit) (err error) {
	c := change{
		by: self(), command: string(r.Origin) + ": " + cmp.Or(r.Why, "changed"), verb: policy.VerbFollow, force: follow.Force(r, one), aside: true,
		edit:   desired.Edit{Claims: edit, Whole: rebuilds(edit, e.enforced.Policy.Entries.Len())},
		follow: []store.Followed{{Origin: r.Origin, State: state}},
	}
	if !over.Empty() {
		c.edit.Fleets = map[policy.Origin]desired.OverridesEdit{r.Origin: over}
	}
	if e.enforced.Fresh(edit) < len(edit.Put) || len(edit.Remove)+len(over.Suspend) > 0 { // else it cuts nobody off
		if c.assess, err = assessed(api.DefaultSeen); err != nil {
			return err
		}
	}
	o, err := e.make(c)
	if err == nil {
		e.files.followed.changes++
		e.options.Log.Info(fmt.Sprintf("%s: +%d -%d ~%d: generation %d",
			c.command, len(o.Plan.Added), len(o.Plan.Removed), len(o.Plan.Changed), e.enforced.Gate.Tables.Generation()))
	}
	return err
}

// rebuilds reports whether edit is so large a part of a list of so many entries that merging
// everything anew is quicker.
func rebuilds(edit policy.Edit, entries int) bool {
	named := len(edit.Put) + len(edit.Remove)
	return named > 1000 && named > entries/8
}

// forgot says of which lists a change has left nothing.
func (e *Engine) forgot(origins []policy.Origin) {
	e.files.followed.changes++
	for _, origin := range origins {
		delete(e.files.followed.origins, origin)
		e.say(fmt.Sprintf("%s: no longer named, and forgotten", origin))
	}
}

// followNamed follows settings from now on, and not what they leave out. The next reading of each is
// taken over with force.
func (e *Engine) followNamed(settings []source.Settings, force policy.Force) {
	e.files.followed.settings = settings
	e.files.followed.origins.Name(settings, force)
	e.enforced.Expected = source.Owners(settings)
	if e.files.followed.group != nil && e.files.followed.ctx.Err() == nil {
		e.files.followed.group.Follow(e.files.followed.ctx, settings)
	}
}

// followBefore follows what was followed before the change that c has taken back.
func (e *Engine) followBefore(c change) {
	if c.names != nil {
		e.forgot(c.forget)
		for _, back := range c.follow {
			e.files.followed.origins[back.Origin] = follow.Origin{OriginState: back.State}
		}
		e.followNamed(c.names, policy.Force{})
	}
}

// namesOthers reports whether c has others followed than before.
func (e *Engine) namesOthers(c change) bool {
	return c.names != nil && !follow.Same(e.files.followed.settings, c.names)
}

// namesNew reports whether c has an origin followed that was not, which may let in anybody.
func (e *Engine) namesNew(c change) bool {
	return c.names != nil && follow.Adds(e.files.followed.settings, c.names)
}

// forgetUnnamed forgets with c, at a start or a confirmation, the origins that the config file has
// no longer. Neither is refused for them: their lists then stay, and that is a problem.
func (e *Engine) forgetUnnamed(c change) {
	gone := e.files.followed.origins.Unnamed(e.files.followed.settings)
	if len(gone) == 0 {
		return
	}
	c.aside, c.edit, c.forget = true, e.enforced.Unsay(gone), gone
	_, err := e.make(c)
	if err == nil {
		e.forgot(gone)
		return
	}
	if refused, ok := errors.AsType[*policy.Refused](err); ok {
		err = follow.Refusal(refused)
	}
	for _, origin := range gone {
		one := e.files.followed.origins[origin]
		one.Failing = fmt.Errorf("%s names it no longer: %w", e.options.Config, err)
		e.files.followed.origins[origin] = one
	}
}
