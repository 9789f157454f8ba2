package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// change is one change on its way through the pipeline: parsed by who asks, then
// linted, merged, compared, guarded, published or patched, and recorded.
type change struct {
	by      Caller
	command string
	verb    policy.Verb // "" is nobody's change but time's: the guard rails are not asked
	force   policy.Force
	dryRun  bool
	peers   []policy.Peer // the caller's own sessions

	services []policy.Service                 // nil keeps them
	declared map[policy.Origin][]policy.Claim // nil keeps them
	put      []policy.Claim                   // of the CLI
	remove   []netip.Prefix                   // of the CLI
}

// make puts c through the pipeline. On an error nothing has changed, neither in the
// kernel nor on disk. The caller holds the mutex.
func (e *Engine) make(c change) (policy.Plan, error) {
	services, declared, claims := e.view.state.Services, e.declared, e.claims
	if c.services != nil {
		services = c.services
	}
	if c.declared != nil {
		declared = c.declared
	}
	if len(c.put)+len(c.remove) > 0 {
		claims = maps.Clone(claims)
		for _, prefix := range c.remove {
			delete(claims, prefix)
		}
		for _, claim := range c.put {
			claims[claim.Prefix] = claim
		}
	}
	all := allClaims(declared, claims)
	next, err := merge(services, all)
	if err != nil {
		return policy.Plan{}, err
	}
	plan := policy.Diff(e.view.state, next)
	if err := e.guard(c, next, plan); err != nil {
		return plan, err
	}
	if c.dryRun {
		return plan, nil
	}
	if plan.Empty() && !e.view.gate.Tables.Stale() {
		return plan, e.record(c, all, next, e.view.gate.Tables.Generation(), func() { e.declared, e.claims = declared, claims })
	}
	generation := max(e.view.gate.Tables.Generation(), e.lastGeneration()) + 1
	used, err := e.compiler.apply(e.view.gate.Tables, plan, next, generation)
	if err != nil {
		return plan, errors.Join(err, e.restore())
	}
	err = e.record(c, all, next, generation, func() { e.declared, e.claims = declared, claims })
	if err != nil {
		return plan, errors.Join(err, e.restore())
	}
	e.view.fold(used)
	e.view.state = next
	return plan, nil
}

func allClaims(declared map[policy.Origin][]policy.Claim, claims map[netip.Prefix]policy.Claim) []policy.Claim {
	all := slices.Collect(maps.Values(claims))
	for _, list := range declared {
		all = append(all, list...)
	}
	return all
}

// merge makes the state of claims. A claim of the CLI for a service that the flags or
// the config file no longer make is kept and left out: nobody can take it away while
// no daemon runs, so it must not keep one from running.
func merge(services []policy.Service, claims []policy.Claim) (policy.State, error) {
	claims = slices.DeleteFunc(slices.Clone(claims), func(c policy.Claim) bool { return orphaned(c, services) })
	if err := policy.CheckServices(claims, services); err != nil {
		return policy.State{}, err
	}
	entries, err := policy.Merge(claims, time.Now())
	return policy.State{Services: services, Entries: entries}, err
}

// orphaned reports whether a claim of the CLI names a service that is not there.
func orphaned(c policy.Claim, services []policy.Service) bool {
	return c.Origin == policy.OriginCLI && slices.ContainsFunc(c.Services, func(name string) bool {
		return !slices.ContainsFunc(services, func(s policy.Service) bool { return s.Name == name })
	})
}

// guard asks the guard rails. What stood before is not refused again.
func (e *Engine) guard(c change, next policy.State, plan policy.Plan) error {
	if plan.Empty() || c.verb == "" {
		return nil
	}
	now := time.Now()
	if err := policy.Guard(e.view.state, next, plan, c.verb, c.force, now); err != nil {
		return err
	}
	if policy.GuardPeer(e.view.state, c.peers, c.verb, now) != nil {
		return nil
	}
	return policy.GuardPeer(next, c.peers, c.verb, now)
}

// restore puts the kernel back to the state that stands, after a change that came
// half way.
func (e *Engine) restore() error {
	compiled, err := e.compiler.policy(e.view.state, max(e.view.gate.Tables.Generation(), e.lastGeneration())+1)
	if err == nil {
		_, err = e.view.gate.Tables.Publish(compiled)
	}
	if err != nil {
		return fmt.Errorf("put the policy back: %w", err)
	}
	return nil
}

func (e *Engine) lastGeneration() uint64 {
	generation, err := e.store.Generation()
	if err != nil {
		return 0
	}
	return generation
}

// record makes the change durable, then acknowledged.
func (e *Engine) record(c change, all []policy.Claim, next policy.State, generation uint64, acknowledge func()) error {
	who := Change{
		Time: time.Now().UTC().Truncate(time.Second), Generation: generation,
		Command: c.command, UID: c.by.UID, PID: c.by.PID,
	}
	text, err := json.Marshal(who)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	meta := map[string][]byte{metaOwners: e.compiler.marshalOwners()}
	last := store.LastChange{}
	changed := generation != e.lastGeneration()
	if changed {
		meta[metaChange] = text
		last = store.LastChange{Time: who.Time, Who: fmt.Sprintf("uid %d", c.by.UID), What: c.command}
	}
	// The list first and the database last: only the database says what the CLI
	// made, so its commit is the moment of the change, and before it there is none.
	if err := e.save(generation, next, all); err != nil {
		return err
	}
	err = e.store.Apply(store.Change{Delete: c.remove, Put: c.put, Generation: generation, Last: last, Meta: meta})
	if err != nil {
		return errors.Join(fmt.Errorf("record in %s: %w", e.options.State, err),
			e.save(e.lastGeneration(), e.view.state, allClaims(e.declared, e.claims)))
	}
	if changed {
		e.last = &who
	}
	acknowledge()
	e.end = policy.NextEnd(all, time.Now())
	return nil
}

// save writes the effective list.
func (e *Engine) save(generation uint64, state policy.State, claims []policy.Claim) error {
	err := e.store.SaveEffective(store.Effective{
		Generation: generation, Services: state.Services, Interfaces: e.options.Interfaces,
		Attach: string(e.options.Attach), Backstop: e.options.Backstop, Claims: claims,
	})
	if err != nil {
		return fmt.Errorf("record in %s: %w", e.options.State, err)
	}
	return nil
}

// Keys of the store's meta that only we read.
const (
	metaOwners = "owners"
	metaChange = "change"
)
