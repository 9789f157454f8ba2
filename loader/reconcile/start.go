package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Start puts the gate up. The last good policy is published and attached before any
// file is read, so that a broken file after a reboot does not leave the host open;
// only then flags and files are taken over. Without a last good policy they must be
// right: the error then is theirs, and nothing was attached.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	good, err := e.recover()
	if err != nil {
		return err
	}
	attach := func() error { return e.attachAll() }
	if good {
		if err := attach(); err != nil {
			return err
		}
		attach = func() error { return nil }
	}
	if err := e.takeOver(good); err != nil {
		return err
	}
	if err := attach(); err != nil {
		return err
	}
	if err := e.view.gate.Retire(); err != nil {
		return err
	}
	e.up = true
	e.announce()
	return ctx.Err()
}

// recover brings back the last good policy: what was declared, and what the CLI
// made. It reports whether there is one.
func (e *Engine) recover() (bool, error) {
	e.compiler = compiler{clock: e.view.clock, owners: map[string]uint16{}}
	if err := e.recall(metaOwners, &e.compiler.owners); err != nil {
		return false, err
	}
	if err := e.recall(metaChange, &e.last); err != nil {
		return false, err
	}
	if err := e.countSince(); err != nil {
		return false, err
	}
	claims, err := e.store.Claims()
	if err != nil {
		return false, err
	}
	for _, claim := range claims {
		e.claims[claim.Prefix] = claim
	}
	last, err := store.LoadEffective(e.options.State)
	var torn *store.TornError
	if errors.As(err, &torn) {
		e.torn = err
	} else if err != nil {
		return false, err
	}
	if last.Generation == 0 || len(last.Services) == 0 {
		return false, nil
	}
	e.lastGood(last)
	for _, claim := range last.Claims {
		if claim.Origin != policy.OriginCLI {
			e.declared[claim.Origin] = append(e.declared[claim.Origin], claim)
		}
	}
	if e.view.state, err = merge(last.Services, allClaims(e.declared, e.claims)); err != nil {
		return false, fmt.Errorf("bring back generation %d: %w", last.Generation, err)
	}
	return true, e.settle(last.Generation)
}

// lastGood takes from the last good policy what a config file that cannot be read
// would have said.
func (e *Engine) lastGood(last store.Effective) {
	if len(e.options.Interfaces) == 0 {
		e.options.Interfaces = last.Interfaces
	}
	if e.options.Attach == "" {
		e.options.Attach = loader.Mode(last.Attach)
	}
}

// settle makes the kernel have the recovered state. After a restart it has it
// already and nothing is written; after a reboot it has nothing.
func (e *Engine) settle(generation uint64) error {
	tables := e.view.gate.Tables
	same, err := e.compiler.same(tables, e.view.state)
	if err != nil || same {
		return err
	}
	compiled, err := e.compiler.policy(e.view.state, max(generation, e.lastGeneration(), tables.Generation()))
	if err != nil {
		return err
	}
	if _, err := tables.Publish(compiled); err != nil {
		return fmt.Errorf("publish generation %d: %w", compiled.Generation, err)
	}
	return nil
}

func (e *Engine) recall(key string, into any) error {
	text, err := e.store.Meta(key)
	if err != nil || text == nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s of %s: %w", key, e.options.State, err)
	}
	return nil
}

// countSince notes when counting began: with the first attachment of this root.
func (e *Engine) countSince() error {
	linked, err := e.view.gate.Linked()
	if err != nil {
		return err
	}
	if len(linked) > 0 {
		if err := e.recall(store.MetaSince, &e.view.since); err != nil || e.view.since != nil {
			return err
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	text, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("note the start of counting: %w", err)
	}
	e.view.since = &now
	return e.store.Apply(store.Change{Meta: map[string][]byte{store.MetaSince: text}})
}

// takeOver makes flags and files the declared state. A file that is bad or refused
// keeps its last good content, is a problem, and does not stop a gate that has a
// policy; the flags of this very start must be right.
func (e *Engine) takeOver(good bool) error {
	before, old := e.declared, e.view.state.Services
	read, err := e.read()
	if err != nil {
		return err
	}
	declared, failing := read.declared, read.failing
	if len(failing) > 0 && !good {
		return joined(failing)
	}
	for origin, claims := range before {
		if failing[origin] != nil || failing[policy.OriginConfig] != nil && e.unread(origin, read) {
			declared[origin] = claims
		}
	}
	c := change{
		by: Caller{UID: uint32(os.Geteuid()), PID: int32(os.Getpid())}, command: "run", verb: policy.VerbRun,
		force: e.options.Force, services: read.services, declared: declared,
		peers: Sessions(os.Getpid()),
	}
	plan := policy.Plan{}
	if plan, err = e.make(c); err != nil && good {
		// Was it the files? Without what changed in them, it must go.
		for origin, claims := range declared {
			old, found := before[origin]
			switch {
			case !isFile(origin) || found && sameClaims(old, claims):
			case found:
				declared[origin], failing[origin] = old, err
			default: // new, and with nothing to fall back on
				delete(declared, origin)
				failing[origin] = err
			}
		}
		for origin, old := range before {
			if _, found := declared[origin]; !found && e.stillNamed(origin) {
				declared[origin], failing[origin] = old, err
			}
		}
		if e.options.Services == nil && c.services != nil && !slices.EqualFunc(old, c.services, policy.Service.Equal) {
			c.services, failing[policy.OriginConfig] = nil, err
		}
		plan, err = e.make(c)
	}
	if err != nil {
		return err
	}
	e.failing = failing
	for origin, err := range failing {
		e.options.Log.Error(fmt.Sprintf("%s keeps its last good content: %v", origin, err))
	}
	if good {
		e.logServices(old, plan)
	}
	return nil
}

// logServices says what a change did to ports, modes and scopes.
func (e *Engine) logServices(old []policy.Service, plan policy.Plan) {
	if plan.ServicesChanged {
		e.options.Log.Info(fmt.Sprintf("services changed: %s → %s", describe(old), describe(e.view.state.Services)))
	}
}

func joined(failing map[policy.Origin]error) error {
	var errs []error
	for _, origin := range slices.Sorted(maps.Keys(failing)) {
		errs = append(errs, failing[origin])
	}
	return errors.Join(errs...)
}

// isFile reports whether origin is a file that somebody edits, not this start's flags.
func isFile(origin policy.Origin) bool {
	return origin == policy.OriginConfig || strings.HasPrefix(string(origin), "file:")
}

// stillNamed reports whether a file that is no longer found lies in a path that is
// still given: it was deleted, not unconfigured. A config file always is.
func (e *Engine) stillNamed(origin policy.Origin) bool {
	if origin == policy.OriginConfig {
		return e.options.Config != ""
	}
	path, _ := strings.CutPrefix(string(origin), "file:")
	return isFile(origin) && slices.ContainsFunc(e.files, func(named string) bool {
		return path == named || strings.HasPrefix(path, strings.TrimSuffix(named, "/")+"/")
	})
}

// unread reports whether origin may be a file that a config file names which cannot
// be read: then nobody knows that it was unconfigured.
func (e *Engine) unread(origin policy.Origin, read reading) bool {
	_, found := read.declared[origin]
	return !found && isFile(origin) && !e.stillNamed(origin)
}

func sameClaims(a, b []policy.Claim) bool {
	return slices.EqualFunc(a, b, func(a, b policy.Claim) bool {
		return policy.FormatLine(a) == policy.FormatLine(b)
	})
}

// attachAll adopts what is pinned and guards what is named. An interface that is
// not there yet is a problem, not an error; one that somebody else holds ends the
// start, and what this start attached is taken off again.
func (e *Engine) attachAll() error {
	var fresh []string
	err := e.attachEach(&fresh)
	if err == nil {
		err = e.guardSockets()
	}
	if err == nil {
		return nil
	}
	for _, name := range fresh {
		err = errors.Join(err, e.view.gate.Detach(name))
	}
	return err
}

// leaveNothing removes what a failed start left of a gate that was not up before; one
// that was stays up.
func (e *Engine) leaveNothing() error {
	linked, err := e.view.gate.Linked()
	if err != nil || e.stood || len(linked) > 0 {
		return err
	}
	return errors.Join(e.view.gate.DetachBackstop(), e.view.gate.Remove())
}

func (e *Engine) attachEach(fresh *[]string) error {
	linked, err := e.view.gate.Linked()
	if err != nil {
		return err
	}
	targets := e.targets()
	for _, name := range linked {
		mode := loader.Auto
		if slices.Contains(targets, name) {
			mode = e.options.Attach
		} else {
			e.unnamed[name] = true
		}
		if _, err := e.attach(name, mode); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, name := range targets {
		if slices.Contains(e.view.gate.Attached(), name) {
			continue
		}
		at, err := e.attach(name, e.options.Attach)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && !at.Adopted {
			*fresh = append(*fresh, name)
		}
	}
	return nil
}

// targets are the interfaces to guard now: what the named ones resolve to, less
// what detach took. A named one that is not there is noted as a problem.
func (e *Engine) targets() []string {
	var targets []string
	clear(e.wanted)
	for _, name := range e.options.Interfaces {
		resolved, err := loader.Resolve(name)
		if err != nil {
			e.wanted[name] = missing(name)
			continue
		}
		targets = append(targets, resolved...)
	}
	targets = slices.DeleteFunc(targets, func(name string) bool { return e.released[name] })
	slices.Sort(targets)
	return slices.Compact(targets)
}

func (e *Engine) attach(name string, mode loader.Mode) (loader.Attachment, error) {
	at, err := e.view.gate.Attach(name, mode)
	if err != nil {
		return at, err
	}
	line := fmt.Sprintf("%s: attached (%s)", name, at.Mode)
	if at.Adopted {
		line = fmt.Sprintf("%s: adopted (%s), no gap", name, at.Mode)
	}
	if at.Mode == loader.Generic && at.Reason != "" {
		line += fmt.Sprintf("; a dropped packet costs many times what it would natively: %s", at.Reason)
	}
	e.options.Log.Info(line + "; " + e.openTo())
	return at, nil
}

// openTo says "tcp/443 open to 3 prefixes".
func (e *Engine) openTo() string {
	var ports []string
	for _, s := range e.view.state.Services {
		for _, port := range s.Ports {
			ports = append(ports, port.String())
		}
	}
	return fmt.Sprintf("%s open to %s", strings.Join(ports, ", "), plural(len(e.view.state.Entries), "prefix", "prefixes"))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func describe(services []policy.Service) string {
	var words []string
	for _, s := range services {
		words = append(words, fmt.Sprintf("%s %v %s, drop %s", s.Name, s.Ports, s.Mode, s.Scope))
	}
	return strings.Join(words, "; ")
}

// announce flies the canary and says what it proved.
func (e *Engine) announce() {
	e.probe()
	var audits []string
	for _, s := range e.view.state.Services {
		if s.Mode == policy.Audit {
			audits = append(audits, s.Name)
		}
	}
	for _, p := range e.problems {
		if p.Code != "audit" {
			e.options.Log.Error(p.String())
		}
	}
	switch {
	case len(audits) > 0:
		who, how := "", "restart without --mode audit"
		if len(audits) < len(e.view.state.Services) {
			who = " for " + strings.Join(audits, ", ")
		}
		if len(e.options.Services) == 0 {
			how = "set mode: enforce in " + e.options.Config + ", then: xdpallow reload"
		}
		e.options.Log.Info(fmt.Sprintf("audit: nothing is dropped%s, others are counted; to enforce, %s", who, how))
	case enforcing(e.problems):
		e.options.Log.Info("enforcing: the canary was dropped")
	}
}
