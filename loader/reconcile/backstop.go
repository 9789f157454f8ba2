package reconcile

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// backstopGoes is what opens without a backstop.
const backstopGoes = "the backstop goes off, and what comes in beside the guarded interfaces is not judged"

// keepBackstop has this start keep a backstop that stands, or that the last good policy
// had, where only the config file turns it off: nobody watches a start that a boot or a
// restart makes. What is typed is meant.
func (e *Engine) keepBackstop(last store.Effective) {
	if e.options.losesBackstop() && (last.Backstop == "on" || e.view.gate.BackstopStands()) {
		e.options.Backstop, e.backstopKept = "on", true
	}
}

// losesBackstop reports whether the config file turns the backstop off, and nobody typed
// that this is meant.
func (o *Options) losesBackstop() bool {
	return o.Backstop == "off" && !o.BackstopTyped && !o.Force.AllowOpen
}

// wantsNoBackstop reports whether what was read turns a backstop off that is on, and that
// nobody typed.
func (e *Engine) wantsNoBackstop(read reading) bool {
	return e.options.Backstop != "off" && !e.options.BackstopTyped && read.settings != nil && read.settings.Backstop == "off"
}

// dropsBackstop reports whether a reload turns the backstop off. One that waits for its
// confirmation does not: the rollback could not bring the backstop back.
func (e *Engine) dropsBackstop(read reading, r ReloadRequest) bool {
	return e.wantsNoBackstop(read) && r.AllowOpen && r.Confirm == "" && !r.DryRun
}

// reloadBackstop turns the backstop off, where drop says so; the change that was made has
// recorded it.
func (e *Engine) reloadBackstop(read reading, r ReloadRequest, drop bool) error {
	if r.DryRun {
		return nil
	}
	if !drop {
		e.backstopKept = e.wantsNoBackstop(read) || e.backstopKept && read.settings == nil
		return nil
	}
	if err := e.view.gate.DetachBackstop(); err != nil {
		return fmt.Errorf("the list was reloaded, and the backstop is still on: %w", err)
	}
	e.backstopKept = false
	e.options.Log.Warn("the backstop is off: what comes in beside the guarded interfaces is not judged")
	return e.view.gate.NoteBackstop()
}

// backstopLine is what the change log says of a change that turns the backstop on or off;
// "" is of one that does not.
func (e *Engine) backstopLine() string {
	was, is := e.list.saved.Backstop, e.options.Backstop
	switch {
	case was == is || was == "" || is == "":
		return ""
	case is == "off":
		return "! backstop: on → off: what comes in beside the guarded interfaces is not judged"
	}
	return "~ backstop: off → on"
}

// backstopStays is what a start kept on, and what turns it off.
func (e *Engine) backstopStays() string {
	return fmt.Sprintf("%s: the backstop stays on; to turn it off: %s", e.options.Config, e.command("reload --allow-open"))
}

// guardSockets puts the backstop up, or takes it down where it is not wanted. It
// knows the host's own addresses before it refuses anything.
func (e *Engine) guardSockets() error {
	if e.options.Backstop == "off" {
		return e.view.gate.DetachBackstop()
	}
	if err := e.knowAddresses(); err != nil {
		return err
	}
	return e.view.gate.AttachBackstop()
}

// knowAddresses tells the backstop which addresses are the host's own.
func (e *Engine) knowAddresses() error {
	if e.options.Backstop == "off" {
		return nil
	}
	interfaces, err := netdev.Read()
	if err != nil {
		return err
	}
	own, err := interfaces.Own()
	if err != nil {
		return err
	}
	return e.view.gate.Tables.SetLocal(own)
}

// countIngress makes the backstop tell what it refuses of that which came in by a guarded
// interface.
func (e *Engine) countIngress() error {
	var indexes []int
	for _, name := range e.view.gate.Attached() {
		if at := e.drift.indexes[name]; at != 0 {
			indexes = append(indexes, at)
		}
	}
	return e.view.gate.Tables.SetIngress(indexes)
}

// probeBackstop proves that the second door is shut, where there is one.
func (v *view) probeBackstop() []Problem {
	problem := func(code, hint, format string, args ...any) []Problem {
		return []Problem{{Code: code, Subject: "backstop", Text: fmt.Sprintf(format, args...), Hint: hint}}
	}
	at, err := v.gate.Backstop()
	switch {
	case err != nil:
		return problem("backstop", "xdpallow status", "cannot be asked: %v", err)
	case at == loader.Backstop{}:
		return nil
	case !at.Attached:
		return problem("backstop_detached", "systemctl restart xdpallow", "our program is no longer attached to the socket lookups")
	case !at.Ours:
		return problem("backstop_replaced", "systemctl restart xdpallow", "the socket lookups run program %d, which is not ours", at.ProgramID)
	}
	for _, s := range v.Policy.Services {
		if v.Auditing(s, compile.Boottime()) {
			continue
		}
		for _, source := range never {
			refused, err := v.gate.AskBackstop(source, s.Ports[0].Protocol == policy.TCP, s.Ports[0].Number)
			if err != nil {
				return problem("backstop", "xdpallow status", "the canary could not fly: %v", err)
			}
			if !refused {
				return problem("backstop", "xdpallow status", "an opening from %s to %s, which nobody may send, would find its socket", source, s.Ports[0])
			}
		}
	}
	return OtherLookups(v.gate.OtherLookups())
}

// probeNeighbours finds gates of this network namespace that guard a port of this one: a
// backstop judges whatever comes to its ports, so theirs refuses the customers of this gate.
func (v *view) probeNeighbours() (problems []Problem) {
	for _, root := range v.gate.Neighbours() {
		reader, err := loader.OpenReader(root)
		if err != nil {
			continue // of another release, or on its way up or down
		}
		var shared []policy.Port
		for _, s := range v.Policy.Services {
			for _, port := range s.Ports {
				if refused, err := reader.AskBackstop(never[0], port.Protocol == policy.TCP, port.Number); err == nil && refused {
					shared = append(shared, port)
				}
			}
		}
		reader.Close()
		if len(shared) > 0 {
			problems = append(problems, Problem{
				Code: "port_shared", Subject: root,
				Text: fmt.Sprintf("the gate that is pinned there guards %s in this network namespace, too: its backstop refuses whoever it does not list, customers of this gate as well", policy.JoinPorts(shared)),
				Hint: "restart both with --backstop off",
			})
		}
	}
	return problems
}

// OtherLookups names the programs that can overrule the backstop. What they do cannot be
// seen from outside, so each of them is a problem. The arguments are what
// loader.OtherLookups returns.
func OtherLookups(others []loader.Lookup, err error) (problems []Problem) {
	if err != nil {
		return []Problem{{Code: "backstop", Subject: "backstop", Text: fmt.Sprintf("cannot be asked: %v", err), Hint: "xdpallow status"}}
	}
	for _, other := range others {
		problems = append(problems, Problem{
			Code: "backstop_shared", Subject: "backstop",
			Text: fmt.Sprintf("%s is at the socket lookups too: whom it selects a socket for, the backstop does not stop", other),
			Hint: fmt.Sprintf("bpftool prog show id %d", other.ProgramID),
		})
	}
	return problems
}
