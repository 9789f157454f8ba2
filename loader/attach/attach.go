// Package attach keeps the named interfaces guarded, and the host's sockets: it attaches those
// that are there, adopts what an earlier daemon attached, follows renames, and says what is
// missing.
package attach

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/repair"
)

// Settings are what is to be guarded.
type Settings struct {
	Interfaces []string
	Mode       loader.Mode
	Backstop   bool
}

// Interfaces are those that are guarded, or should be. One goroutine uses it at a time.
type Interfaces struct {
	Checker *repair.Checker // notes what was found detached

	gate *loader.Gate
	log  *slog.Logger
	told func(line string) // what was attached, and how

	released map[string]bool        // detach took them: they are never attached again
	wanted   map[string]api.Problem // they should be guarded and are not
	unnamed  map[string]bool        // guarded, and no longer named
}

// New returns the interfaces of gate. told is called with the line for the log when one was
// attached.
func New(gate *loader.Gate, checker *repair.Checker, log *slog.Logger, told func(line string)) Interfaces {
	return Interfaces{
		Checker: checker, gate: gate, log: log, told: told,
		released: map[string]bool{}, wanted: map[string]api.Problem{}, unnamed: map[string]bool{},
	}
}

// All adopts what is pinned and guards what is named. An interface that is
// not there yet is a problem, not an error; one that somebody else holds ends the
// start, and what this start attached is taken off again.
// fresh are the interfaces that it attached. Errors are those of loader.Gate.Attach and the kernel's.
func (i *Interfaces) All(want Settings) (fresh []string, err error) {
	if _, err := i.gate.FollowRenames(); err != nil {
		return nil, err
	}
	links, err := netdev.Read()
	if err == nil {
		err = i.attachEach(links, want, &fresh)
	}
	if err == nil {
		err = i.guardSockets(links, want)
	}
	if err != nil {
		return nil, errors.Join(err, i.TakeOff(fresh))
	}
	return fresh, nil
}

// TakeOff detaches what a start that failed had attached.
func (i *Interfaces) TakeOff(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, i.gate.Detach(name))
	}
	return errors.Join(errs...)
}

func (i *Interfaces) attachEach(links netdev.Interfaces, want Settings, fresh *[]string) error {
	linked, err := i.gate.Linked()
	if err != nil {
		return err
	}
	targets := i.targets(links, want.Interfaces)
	for _, name := range linked {
		mode := loader.Auto
		if slices.Contains(targets, name) {
			mode = want.Mode
		}
		_, err := i.attach(name, mode)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && !slices.Contains(targets, name) {
			i.unnamed[name] = true
		}
	}
	for _, name := range targets {
		if slices.Contains(i.gate.Attached(), name) {
			continue
		}
		at, err := i.attach(name, want.Mode)
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
func (i *Interfaces) followRenames(links netdev.Interfaces, want Settings) {
	renamed, err := i.gate.FollowRenames()
	if err != nil {
		i.log.Error(fmt.Sprintf("follow renamed interfaces: %v", err))
	}
	if len(renamed) == 0 {
		return
	}
	i.Checker.Renamed(renamed)
	targets := i.targets(links, want.Interfaces)
	for name := range renamed {
		delete(i.unnamed, name)
	}
	for name, now := range renamed {
		i.log.Info(fmt.Sprintf("%s: renamed to %s, and guarded as before", name, now))
		i.unnamed[now] = true
	}
	maps.DeleteFunc(i.unnamed, func(name string, _ bool) bool { return slices.Contains(targets, name) })
}

// Prepare loads what named interfaces that are not there are going to run, so that they
// are open as short as can be when they come.
func (i *Interfaces) Prepare() {
	for name, p := range i.wanted {
		if p.Code != "interface_missing" {
			continue
		}
		if err := i.gate.Prepare(name); err != nil {
			i.log.Error(fmt.Sprintf("prepare for a late interface: %v", err))
		}
	}
}

// Missing are the named interfaces that are not there, sorted.
func (i *Interfaces) Missing() (names []string) {
	for name, p := range i.wanted {
		if p.Code == "interface_missing" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// targets are the interfaces to guard now: what the named ones resolve to, less
// what detach took. A named one that is not there is noted as a problem.
func (i *Interfaces) targets(links netdev.Interfaces, named []string) []string {
	var targets []string
	clear(i.wanted)
	for _, name := range named {
		resolved, err := links.Carriers(name)
		if err != nil {
			i.wanted[name] = repair.NotAttached(name, err)
			continue
		}
		targets = append(targets, resolved...)
	}
	targets = slices.DeleteFunc(targets, func(name string) bool { return i.released[name] })
	slices.Sort(targets)
	return slices.Compact(targets)
}

func (i *Interfaces) attach(name string, mode loader.Mode) (loader.Attachment, error) {
	at, err := i.gate.Attach(name, mode)
	if err != nil {
		return at, err
	}
	if err := i.Checker.Attached(name, at); err != nil {
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
	i.told(line)
	return at, nil
}

// guardSockets puts the backstop up, or takes it down where it is not wanted. It
// knows the host's own addresses, which links has, before it refuses anything.
func (i *Interfaces) guardSockets(links netdev.Interfaces, want Settings) error {
	if !want.Backstop {
		return i.gate.DetachBackstop()
	}
	if err := i.knowAddresses(links, want); err != nil {
		return err
	}
	return i.gate.AttachBackstop()
}

// knowAddresses tells the backstop which addresses are the host's own.
func (i *Interfaces) knowAddresses(links netdev.Interfaces, want Settings) error {
	if !want.Backstop {
		return nil
	}
	own, err := links.Own()
	if err != nil {
		return err
	}
	return i.gate.Tables.SetLocal(own)
}

// Mend attaches what is named and not attached, and the backstop. What fails is logged, and tried
// again at the next call.
func (i *Interfaces) Mend(h repair.Host, want Settings) {
	if h.LinksErr != nil {
		i.log.Error(fmt.Sprintf("follow interfaces: %v", h.LinksErr))
		return
	}
	if err := i.knowAddresses(h.Links, want); err != nil {
		i.log.Error(fmt.Sprintf("follow own addresses: %v", err))
	}
	if at, err := i.gate.Backstop(); want.Backstop && (err != nil || !at.Attached) {
		if err := i.guardSockets(h.Links, want); err != nil {
			i.log.Error(fmt.Sprintf("put the backstop back: %v", err))
		} else if at.LinkID != 0 {
			i.Checker.Note("backstop", "the link of the backstop was detached", h.Time)
		}
	}
	i.followRenames(h.Links, want)
	guarded := repair.Inspect(i.gate, h.Links)
	for _, name := range i.targets(h.Links, want.Interfaces) {
		if guarded.Attached(name) {
			continue
		}
		before := i.Checker.Index(name)
		_, err := i.attach(name, want.Mode)
		if err == nil && before != 0 && before == i.Checker.Index(name) {
			i.Checker.Note("link", name+": our link was detached", h.Time)
		}
		if err == nil || errors.Is(err, os.ErrNotExist) {
			continue
		}
		i.wanted[name] = repair.NotAttached(name, err)
	}
	i.Prepare()
}

// Detach opens the gate on the interface called name, and keeps it open: Mend leaves it alone, also
// after an error. Errors are those of loader.Gate.Detach.
func (i *Interfaces) Detach(name string) error {
	i.released[name] = true
	err := i.gate.Detach(name)
	if err == nil {
		delete(i.unnamed, name)
	}
	return err
}

// Problems are the interfaces that should be guarded and are not, and those guarded that are no longer named.
func (i *Interfaces) Problems() (problems []api.Problem) {
	for _, p := range i.wanted {
		problems = append(problems, p)
	}
	for name := range i.unnamed {
		problems = append(problems, api.Problem{
			Code: "interface_not_named", Subject: name,
			Text: "still guarded, though no --interface names it",
			Hint: "xdpallow detach --interface " + name,
		})
	}
	return problems
}
