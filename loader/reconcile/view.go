package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/maps"
)

// view answers questions from a gate and the state that it should be in, with or
// without a daemon behind it.
type view struct {
	gate          *loader.Gate
	desired.State                  // the state is that of the kernel, or should be
	compiler      compile.Compiler // whose entries the kernel has
	uses          usage
	kept          *store.Store               // has what is known of their use; or else
	known         map[netip.Prefix]store.Use // is all of it
	since         *time.Time
	waits         *Waiting // what nobody has confirmed, where no engine knows it
	ownerCounts   ownerCounts
}

// query is v as package query has it, for as long as v does not change.
func (v *view) query() *query.View {
	return &query.View{
		State: v.State, Generation: v.gate.Tables.Generation(), Gate: v.gate, Clock: v.compiler.Clock, Usage: v, Since: v.since,
	}
}

// saved is what the database knows of the use of prefixes.
func (v *view) saved(prefixes []netip.Prefix) (map[netip.Prefix]store.Use, error) {
	if v.kept == nil {
		return v.known, nil
	}
	return v.kept.UseOf(prefixes)
}

// never are sources that cannot be listed: a broadcast and a multicast address.
var never = []netip.Addr{netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("ff02::1")}

// probe proves, or fails to prove, that the gate enforces: every interface runs the
// program that was loaded with its twin, the kernel has the services that it
// should, and the canary dies at each of them. Each failure is a problem.
func (v *view) probe() []Problem {
	problems := []Problem{}
	guarded := false
	for _, at := range v.query().Interfaces() {
		guarded = guarded || at.Attached
		problems = append(problems, v.probeInterface(at.Name)...)
	}
	if !guarded {
		text := "no interface is guarded: everything passes"
		if v.query().Backstop() != nil {
			text = "no interface is guarded: only the backstop refuses"
		}
		problems = append(problems, Problem{Code: "not_attached", Text: text, Hint: "ip -br link"})
	}
	problems = append(problems, v.probeBackstop()...)
	problems = append(problems, v.probeNeighbours()...)
	problems = append(problems, v.probeUDP()...)
	problems = append(problems, SourceRoutes(netdev.SourceRouted())...)
	if same, err := v.gate.Tables.SameServices(maps.Policy{Services: compile.Services(v.Policy.Services, v.Audits)}); err != nil || !same {
		problems = append(problems, Problem{
			Code: "policy_changed", Text: "the ports and modes in the kernel are not ours: somebody else wrote to the map policy",
			Hint: "systemctl restart xdpallow",
		})
	}
	for _, s := range v.query().Services() {
		if s.Mode != policy.Audit {
			continue
		}
		p := Problem{
			Code: "audit", Subject: s.Name, Text: "the service is in audit: unlisted sources are counted and pass",
			Hint: "restart without --mode audit",
		}
		if s.Until != nil {
			p.Text = fmt.Sprintf("the service is in audit until %s: unlisted sources are counted and pass", s.Until.Format(time.RFC3339))
			p.Hint = "xdpallow mode enforce"
		}
		problems = append(problems, p)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	return problems
}

func (v *view) probeInterface(name string) []Problem {
	problem := func(code, hint, format string, args ...any) []Problem {
		return []Problem{{Code: code, Subject: name, Text: fmt.Sprintf(format, args...), Hint: hint}}
	}
	at, err := v.gate.Inspect(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return []Problem{missing(name)}
	case err != nil:
		return problem("interface_unreadable", "ip link show dev "+name, "cannot be asked: %v", err)
	case at.Mode == "":
		return problem("detached", "bpftool net show dev "+name, "our program is no longer attached: everything passes")
	case !at.Ours:
		return problem("program_replaced", "systemctl restart xdpallow", "runs program %d, which is not ours", at.ProgramID)
	}
	for _, s := range v.Policy.Services {
		if v.Auditing(s, compile.Boottime()) {
			continue
		}
		for _, source := range never {
			answer, err := v.gate.AskOpening(name, source, s.Ports[0].Protocol == policy.TCP, s.Ports[0].Number)
			if err != nil {
				return problem("canary", "xdpallow status", "the canary could not fly: %v", err)
			}
			if answer.Verdict == maps.Drop {
				continue
			}
			hint := "systemctl restart xdpallow"
			if e, _ := v.Policy.Lookup(source, s.Name, time.Now()); answer.Reason == maps.Listed && e != nil {
				if hint = "xdpallow remove " + e.Prefix.String(); declaredBy(*e) != "" {
					hint = "take it out of " + declaredBy(*e) + ", then: systemctl restart xdpallow"
				}
			}
			return problem("canary", hint, "a SYN from %s to %s, which nobody may send, would pass (%s)", source, s.Ports[0], answer.Reason)
		}
	}
	return nil
}

// NotAttached is the problem of an interface to guard to which nothing can be attached, or
// that is not there.
func NotAttached(name string, err error) Problem {
	if errors.Is(err, os.ErrNotExist) {
		return missing(name)
	}
	p := Problem{Code: "interface_not_attached", Subject: name, Text: strings.TrimPrefix(err.Error(), name+": "), Hint: "ip -br link"}
	var foreign *loader.ForeignError
	var hinting interface{ Hint() string }
	if errors.As(err, &hinting) {
		p.Hint = hinting.Hint()
	}
	if errors.As(err, &foreign) {
		p.Code = "interface_taken"
	}
	return p
}

// missing is the problem of an interface that is not there. Nobody comes in by it.
func missing(name string) Problem {
	return Problem{
		Code: "interface_missing", Subject: name,
		Text: "there is no such interface; it is guarded as soon as there is", Hint: "ip -br link",
	}
}
