package repair

// This file says what of an observation is not as it should be. It asks nobody.

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

// Finding is one thing that is not as it should be.
type Finding struct {
	api.Problem // its code is "" where only the repair is told

	Repair string // the part that puts it right: services, program, backstop; "" where none can
	Name   string // of the interface
	Found  string // what somebody else changed
	Err    error  // whether anything was changed is not known
}

// Problems are what of findings is to be told.
func Problems(findings []Finding) []api.Problem {
	problems := []api.Problem{}
	for _, f := range findings {
		if f.Code != "" {
			problems = append(problems, f.Problem)
		}
	}
	return problems
}

const restart = "systemctl restart xdpallow"

// Diagnose says what of o is not as d has it, sorted by code and subject: whether every
// interface runs the program that was loaded, the kernel has the services that
// it should, and the canary dies at each of them.
func Diagnose(o Observation, d Desired) []Finding {
	var all []Finding
	guarded := false
	for _, i := range o.Interfaces {
		guarded = guarded || i.Mode != ""
		all = append(all, i.diagnose(o.Time, d)...)
	}
	if !guarded {
		text := "no interface is guarded: everything passes"
		if o.BackstopErr == nil && o.Backstop != (loader.Backstop{}) {
			text = "no interface is guarded: only the backstop refuses"
		}
		all = append(all, told(api.Problem{Code: "not_attached", Text: text, Hint: "ip -br link"})...)
	}
	if o.ServicesErr != nil || !o.Services {
		all = append(all, Finding{
			Problem: api.Problem{
				Code: "policy_changed", Hint: restart,
				Text: "the ports and modes in the kernel are not ours: somebody else wrote to the map policy",
			},
			Repair: "services", Found: "ports and modes were written to", Err: o.ServicesErr,
		})
	}
	all = append(all, o.backstop()...)
	for _, n := range o.Neighbours {
		all = append(all, told(n.problem())...)
	}
	all = append(all, told(UnguardedUDP(d.Policy.Services, o.UDPServers, o.UDPErr)...)...)
	all = append(all, told(SourceRoutes(o.SourceRouted, o.SourceRoutedErr)...)...)
	all = append(all, told(audits(o, d)...)...)
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	return all
}

// told makes findings of problems that only an operator can put right.
func told(problems ...api.Problem) (all []Finding) {
	for _, p := range problems {
		all = append(all, Finding{Problem: p})
	}
	return all
}

func (i *Interface) diagnose(now time.Time, d Desired) []Finding {
	name := i.Interface
	problem := func(code, hint, format string, args ...any) Finding {
		return Finding{Problem: api.Problem{Code: code, Subject: name, Text: fmt.Sprintf(format, args...), Hint: hint}}
	}
	switch {
	case errors.Is(i.Err, os.ErrNotExist):
		return told(missing(name))
	case i.Err != nil:
		return []Finding{problem("interface_unreadable", "ip link show dev "+name, "cannot be asked: %v", i.Err)}
	case i.Mode == "":
		return []Finding{problem("detached", "bpftool net show dev "+name, "our program is no longer attached: everything passes")}
	case !i.Ours:
		f := problem("program_replaced", restart, "runs program %d, which is not ours", i.ProgramID)
		f.Repair, f.Name, f.Found = "program", name, fmt.Sprintf("%s: the link was given program %d", name, i.ProgramID)
		return []Finding{f}
	}
	var all []Finding
	if i.Late > 0 {
		all = append(all, Finding{
			Repair: "program", Name: name,
			Found: fmt.Sprintf("%s: %s added after our program", name, policy.Count(i.Late, "queue was", "queues were")),
		})
	}
	switch c := i.Canary; {
	case c == nil:
	case c.Err != nil:
		all = append(all, problem("canary", "xdpallow status", "the canary could not fly: %v", c.Err))
	default:
		all = append(all, problem("canary", c.hint(now, d), "a SYN from %s to %s, which nobody may send, would pass (%s)", c.Source, c.Port, c.Reason))
	}
	return all
}

// hint is what shuts out a canary that got in.
func (f *Flight) hint(now time.Time, d Desired) string {
	e, _ := d.Policy.Lookup(f.Source, f.Service, now)
	if f.Reason != maps.Listed || e == nil {
		return restart
	}
	if where := e.DeclaredAt(); where != "" {
		return "take it out of " + where + ", then: " + restart
	}
	return "xdpallow remove " + e.Prefix.String()
}

// backstop says whether the backstop refuses, if there is one.
func (o *Observation) backstop() []Finding {
	problem := func(code, hint, format string, args ...any) Finding {
		return Finding{Problem: api.Problem{Code: code, Subject: "backstop", Text: fmt.Sprintf(format, args...), Hint: hint}}
	}
	switch at := o.Backstop; {
	case o.BackstopErr != nil:
		f := problem("backstop", "xdpallow status", "cannot be asked: %v", o.BackstopErr)
		f.Repair, f.Err = "backstop", o.BackstopErr
		return []Finding{f}
	case at == loader.Backstop{}:
		return nil
	case !at.Attached:
		return []Finding{problem("backstop_detached", restart, "our program is no longer attached to the socket lookups")}
	case !at.Ours:
		f := problem("backstop_replaced", restart, "the socket lookups run program %d, which is not ours", at.ProgramID)
		f.Repair, f.Found = "backstop", fmt.Sprintf("the link of the backstop was given program %d", at.ProgramID)
		return []Finding{f}
	}
	switch c := o.Refusal; {
	case c == nil:
		return told(OtherLookups(o.Lookups, o.LookupsErr)...)
	case c.Err != nil:
		return []Finding{problem("backstop", "xdpallow status", "the canary could not fly: %v", c.Err)}
	default:
		return []Finding{problem("backstop", "xdpallow status", "an opening from %s to %s, which nobody may send, would find its socket", c.Source, c.Port)}
	}
}

// audits are the services that let everybody in.
func audits(o Observation, d Desired) (problems []api.Problem) {
	for _, s := range d.Policy.Services {
		switch {
		case s.Mode == policy.Audit:
			problems = append(problems, api.Problem{
				Code: "audit", Subject: s.Name, Text: "the service is in audit: unlisted sources are counted and pass",
				Hint: "restart without --mode audit",
			})
		case d.Auditing(s, o.Boot):
			until := d.Compiler.Clock.At(d.Audits.Until(s))
			problems = append(problems, api.Problem{
				Code: "audit", Subject: s.Name, Hint: "xdpallow mode enforce",
				Text: fmt.Sprintf("the service is in audit until %s: unlisted sources are counted and pass", until.Format(time.RFC3339)),
			})
		}
	}
	return problems
}
