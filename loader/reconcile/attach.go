package reconcile

import (
	"context"
	"errors"
	"fmt"
	gomaps "maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
)

// interfaces are those that are guarded, or should be.
type interfaces struct {
	checker  *repair.Checker
	released map[string]bool        // detach took them: they are never attached again
	wanted   map[string]api.Problem // they should be guarded and are not
	unnamed  map[string]bool        // guarded, and no longer named
}

// attachAll adopts what is pinned and guards what is named. An interface that is
// not there yet is a problem, not an error; one that somebody else holds ends the
// start, and what this start attached is taken off again.
func (e *Engine) attachAll() (fresh []string, err error) {
	if _, err := e.enforced.Gate.FollowRenames(); err != nil {
		return nil, err
	}
	links, err := netdev.Read()
	if err == nil {
		err = e.attachEach(links, &fresh)
	}
	if err == nil {
		err = e.guardSockets(links)
	}
	if err != nil {
		return nil, errors.Join(err, e.takeOff(fresh))
	}
	return fresh, nil
}

// takeOff detaches what a start that failed had attached.
func (e *Engine) takeOff(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, e.enforced.Gate.Detach(name))
	}
	return errors.Join(errs...)
}

// leaveNothing removes what a failed start left of a gate that was not up before; one
// that was stays up.
func (e *Engine) leaveNothing() error {
	linked, err := e.enforced.Gate.Linked()
	if err != nil || e.life.stood || len(linked) > 0 {
		return err
	}
	return errors.Join(e.enforced.Gate.DetachBackstop(), e.enforced.Gate.Remove())
}

func (e *Engine) attachEach(links netdev.Interfaces, fresh *[]string) error {
	linked, err := e.enforced.Gate.Linked()
	if err != nil {
		return err
	}
	targets := e.targets(links)
	for _, name := range linked {
		mode := loader.Auto
		if slices.Contains(targets, name) {
			mode = e.options.Attach
		}
		_, err := e.attach(name, mode)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && !slices.Contains(targets, name) {
			e.interfaces.unnamed[name] = true
		}
	}
	for _, name := range targets {
		if slices.Contains(e.enforced.Gate.Attached(), name) {
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

// followRenames keeps interfaces that were renamed guarded, under their new names. One
// that nobody named so is shown as such.
func (e *Engine) followRenames(links netdev.Interfaces) {
	renamed, err := e.enforced.Gate.FollowRenames()
	if err != nil {
		e.options.Log.Error(fmt.Sprintf("follow renamed interfaces: %v", err))
	}
	if len(renamed) == 0 {
		return
	}
	e.interfaces.checker.Renamed(renamed)
	targets := e.targets(links)
	for name := range renamed {
		delete(e.interfaces.unnamed, name)
	}
	for name, now := range renamed {
		e.options.Log.Info(fmt.Sprintf("%s: renamed to %s, and guarded as before", name, now))
		e.interfaces.unnamed[now] = true
	}
	gomaps.DeleteFunc(e.interfaces.unnamed, func(name string, _ bool) bool { return slices.Contains(targets, name) })
}

// prepare loads what named interfaces that are not there are going to run, so that they
// are open as short as can be when they come.
func (e *Engine) prepare() {
	for name, p := range e.interfaces.wanted {
		if p.Code != "interface_missing" {
			continue
		}
		if err := e.enforced.Gate.Prepare(name); err != nil {
			e.options.Log.Error(fmt.Sprintf("prepare for a late interface: %v", err))
		}
	}
}

// AwaitInterfaces returns when every named interface is there, at the latest after
// patience. It returns those that are missing then.
func (e *Engine) AwaitInterfaces(ctx context.Context, patience time.Duration) (missing []string) {
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for deadline := time.Now().Add(patience); ; {
		missing = e.missing()
		if len(missing) == 0 || time.Now().After(deadline) {
			return missing
		}
		select {
		case <-ctx.Done():
			return missing
		case <-ticks.C:
		}
	}
}

func (e *Engine) missing() (names []string) {
	e.mu.Lock()
	defer e.unlock()
	for name, p := range e.interfaces.wanted {
		if p.Code == "interface_missing" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// targets are the interfaces to guard now: what the named ones resolve to, less
// what detach took. A named one that is not there is noted as a problem.
func (e *Engine) targets(links netdev.Interfaces) []string {
	var targets []string
	clear(e.interfaces.wanted)
	for _, name := range e.options.Interfaces {
		resolved, err := links.Carriers(name)
		if err != nil {
			e.interfaces.wanted[name] = repair.NotAttached(name, err)
			continue
		}
		targets = append(targets, resolved...)
	}
	targets = slices.DeleteFunc(targets, func(name string) bool { return e.interfaces.released[name] })
	slices.Sort(targets)
	return slices.Compact(targets)
}

func (e *Engine) attach(name string, mode loader.Mode) (loader.Attachment, error) {
	at, err := e.enforced.Gate.Attach(name, mode)
	if err != nil {
		return at, err
	}
	if err := e.interfaces.checker.Attached(name, at); err != nil {
		return at, err
	}
	line := fmt.Sprintf("%s: attached (%s)", name, at.Mode)
	if at.Adopted {
		line = fmt.Sprintf("%s: adopted (%s), no gap", name, at.Mode)
	}
	if at.Kept != nil {
		line = at.Kept.Error()
	}
	if at.Mode == loader.Generic && at.Reason != "" {
		line += fmt.Sprintf("; %s: %s", repair.GenericCost, at.Reason)
	}
	if !e.life.up {
		e.life.attached = append(e.life.attached, line)
	} else {
		e.options.Log.Info(line + "; " + e.openTo())
	}
	return at, nil
}

// openTo says "tcp/443 open to 3 prefixes", of one service; of several each has a line of
// its own, see openEach.
func (e *Engine) openTo() string {
	services := e.enforced.Policy.Services
	if len(services) != 1 {
		return policy.Count(len(services), "service", "services")
	}
	ports := strings.ReplaceAll(policy.JoinPorts(services[0].Ports), ",", ", ")
	return fmt.Sprintf("%s open to %s", ports, policy.Count(e.enforced.Policy.Entries.Len(), "prefix", "prefixes"))
}

// openEach says of each of several services what it guards and to how many it is open.
func (e *Engine) openEach() []string {
	services := e.enforced.Policy.Services
	if len(services) == 1 {
		return nil
	}
	open := make(map[string]int, len(services))
	for entry := range e.enforced.Policy.Entries.All() {
		for _, name := range entry.Services() {
			open[name]++
		}
		if len(entry.Services()) == 0 {
			open[""]++
		}
	}
	var lines []string
	for _, s := range services {
		lines = append(lines, fmt.Sprintf("service %s, open to %s", s, policy.Count(open[s.Name]+open[""], "prefix", "prefixes")))
	}
	return lines
}

func describe(services []policy.Service) string {
	var words []string
	for _, s := range services {
		words = append(words, fmt.Sprintf("%s %v %s, drop %s", s.Name, policy.PortRanges(s.Ports), s.Mode, s.Scope))
	}
	return strings.Join(words, "; ")
}

// announce flies the canary and says what it proved.
func (e *Engine) announce(h repair.Host) {
	e.probe(e.observe(h))
	var audits []string
	how := e.howTo(policy.Enforce)
	for _, s := range e.enforced.View().Services() {
		if s.Mode == policy.Audit {
			audits = append(audits, s.Name)
		}
		if s.Until != nil {
			how = "wait until " + s.Until.Format(time.RFC3339) + ", or: xdpallow mode enforce" + e.options.HintFlags
		}
	}
	for _, p := range e.problems.found {
		if p.Code != "audit" {
			e.options.Log.Error(p.String())
		}
	}
	switch {
	case len(audits) > 0:
		who := ""
		if len(audits) < len(e.enforced.Policy.Services) {
			who = " for " + strings.Join(audits, ", ")
		}
		e.options.Log.Info(fmt.Sprintf("audit: nothing is dropped%s, others are counted; to enforce, %s", who, how))
	case repair.Enforcing(e.problems.found):
		e.options.Log.Info("enforcing: the canary was dropped")
	}
}
