// Package problems lists what an operator should mend, each with the command for it: what a probe
// finds, what the daemon met on its way, and what files and origins say. It is pure, and reads
// no file.
package problems

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/undo"
)

// Noted are the problems that no probe finds, by code.
type Noted map[string]api.Problem

// Note makes p a problem until Forget is called with its code.
func (n Noted) Note(p api.Problem) { n[p.Code] = p }

// Forget ends the problem with a code.
func (n Noted) Forget(code string) { delete(n, code) }

// Has reports whether there is a problem with a code.
func (n Noted) Has(code string) bool {
	_, found := n[code]
	return found
}

// Facts are what a daemon knows, from which problems are made.
type Facts struct {
	Sources   declared.Sources
	HintFlags string // what a command needs to reach this daemon, or ""

	State desired.State
	Now   time.Time     // by the clock of the deadlines
	Found []api.Problem // by a probe: of the gate, of interfaces, of the state directory
	Noted Noted

	Failing  declared.Failing // origins whose last reading was not taken over
	Kept     declared.Kept    // what a start did not open
	Held     undo.Held        // files that were rolled back
	Followed follow.Origins
}

// All are the problems, sorted by code, subject and text.
func (f Facts) All() []api.Problem {
	all := slices.Concat(f.Found, slices.Collect(maps.Values(f.Noted)), f.declared(), f.Held.Problems(), f.followed())
	if n := len(f.State.Orphans()); n > 0 {
		all = append(all, api.Problem{
			Code: "service_missing", Subject: string(policy.OriginCLI),
			Text: policy.Count(n, "entry is", "entries are") + " for a service that does not exist, and not enforced", Hint: "xdpallow list",
		})
	}
	for i, p := range all {
		all[i].Hint = f.hint(p)
	}
	slices.SortFunc(all, repair.Compare)
	return slices.Compact(all)
}

// hint is that of p, as it is typed on this host.
func (f Facts) hint(p api.Problem) string {
	switch {
	case p.Code == "audit" && !strings.HasPrefix(p.Hint, "xdpallow "):
		return f.Sources.HowTo(policy.Enforce)
	case p.Code == "udp_unguarded" && p.Subject != "":
		return f.Sources.HowToGuard(p.Subject, f.State.Policy)
	case strings.HasPrefix(p.Hint, "xdpallow ") && !strings.Contains(p.Hint, ";"):
		return p.Hint + f.HintFlags
	}
	return p.Hint
}

// declared are the problems of flags and files.
func (f Facts) declared() (all []api.Problem) {
	for origin, err := range f.Failing {
		all = append(all, api.Problem{
			Code: "origin_failing", Subject: string(origin),
			Text: fmt.Sprintf("not taken over, what it said last is enforced: %v", err),
			Hint: "xdpallow reload --dry-run",
		})
	}
	if kept := f.Kept.String(); kept != "" {
		all = append(all, api.Problem{
			Code: "kept_shut", Subject: f.Sources.Config,
			Text: fmt.Sprintf("it says less than is enforced, and no start opens what is shut: %s", kept),
			Hint: "xdpallow reload --allow-open",
		})
	}
	return all
}

// followed are the problems of origins that are kept elsewhere.
func (f Facts) followed() []api.Problem {
	all := f.Followed.Problems(f.State.Policy.Entries.Len(), f.State.Counts.Aside, f.Now)
	for origin, n := range f.State.Elsewhere() {
		if _, fleet := origin.Etcd(); fleet {
			continue // its list is for other hosts, too, which have that service
		}
		all = append(all, api.Problem{
			Code: "claims_aside", Subject: string(origin), Hint: "xdpallow status",
			Text: fmt.Sprintf("%s for services that are not there: nobody comes in by them", policy.Count(n, "entry is", "entries are")),
		})
	}
	return all
}
