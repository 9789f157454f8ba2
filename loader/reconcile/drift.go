package reconcile

// This file finds what somebody else changed in the kernel behind our back, and puts it
// back from what is desired. No repair opens the gate: programs come back by an update
// of their link, lists by a publish, and what is written in place was wrong before.

import (
	"fmt"
	gomaps "maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

const (
	// slice is how many entries a probe compares with the desired ones. A list as long
	// is compared whole every ten seconds, one of a million in ten minutes; where the
	// kernel counts them, one too many or too few is noticed at once all the same.
	slice = 16384
	// canaries is how many of them the twin is asked for.
	canaries = 8
	// remembered is how long a repair stays a problem: somebody should look who did it.
	remembered = 10 * time.Minute
)

// drift is what was found to be changed.
type drift struct {
	round    maps.Round
	begun    uint64         // generation as the round began
	checked  []netip.Prefix // by the last slice
	indexes  map[string]int // of interfaces, as they were when we attached
	counts   map[string]uint64
	repaired map[string]repair
	failed   map[string]Problem // of the last probe
}

type repair struct {
	text string // of the problem line
	at   time.Time
}

func newDrift() drift {
	return drift{indexes: map[string]int{}, counts: map[string]uint64{}, repaired: map[string]repair{}, failed: map[string]Problem{}}
}

// inspect compares what is ours in the kernel with what is desired, and puts right what
// is not. What opens the gate comes first. The caller holds the mutex.
func (e *Engine) inspect() {
	clear(e.drift.failed)
	if e.isDone() {
		return
	}
	for _, part := range []struct {
		what string
		mend func() (found string, err error)
	}{
		{"current", e.mendCurrent},
		{"services", e.mendServices},
		{"program", e.mendPrograms},
		{"backstop", e.mendBackstop},
		{"map", e.mendMaps},
		{"map", e.mendOwners},
		{"entry", e.mendEntries},
		{"prefilter", e.mendPrefilter},
	} {
		e.inspectPart(part.what, part.mend)
	}
	e.mendPins()
	e.look()
}

// inspectPart lets mend put one part right, and notes what it found.
func (e *Engine) inspectPart(what string, mend func() (found string, err error)) {
	found, err := mend()
	switch {
	case err != nil:
		e.drift.failed[what] = Problem{
			Code: "not_repaired", Subject: what, Hint: "systemctl restart xdpallow",
			Text: strings.TrimPrefix(fmt.Sprintf("%s; it could not be put right: %v", found, err), "; "),
		}
	case found != "":
		e.repair(what, found)
	}
}

// repair notes that what was found to be changed was put right.
func (e *Engine) repair(what, found string) {
	e.drift.counts[what]++
	text := fmt.Sprintf("somebody else changed the gate: %s; it was put right at %s", found, time.Now().UTC().Format(time.RFC3339))
	e.drift.repaired[what] = repair{text, time.Now()}
	e.options.Log.Error(fmt.Sprintf("somebody else changed the gate: %s; it was put right", found), "repaired", what)
}

// problems are the repairs of late, and those that failed.
func (d *drift) problems() (problems []Problem) {
	for what, r := range d.repaired {
		if time.Since(r.at) < remembered {
			problems = append(problems, Problem{Code: "repaired", Subject: what, Hint: "journalctl -u xdpallow", Text: r.text})
		}
	}
	return slices.AppendSeq(problems, gomaps.Values(d.failed))
}

func (e *Engine) mendCurrent() (string, error) {
	if same, err := e.view.gate.Tables.SameCurrent(); same || err != nil {
		return "", err
	}
	return "another generation or prefilter was made the live one", e.view.gate.Tables.RestoreCurrent()
}

func (e *Engine) mendServices() (string, error) {
	want := maps.Policy{Services: compile.Services(e.view.Policy.Services, e.view.Audits)}
	if same, err := e.view.gate.Tables.SameServices(want); same || err != nil {
		return "", err
	}
	return "ports and modes were written to", e.view.gate.Tables.RestorePolicy(want)
}

// mendPrograms gives our links our programs again, and our programs all queues. A link
// that is not ours, because ours was detached, is never touched.
func (e *Engine) mendPrograms() (found string, err error) {
	for _, name := range e.view.gate.Attached() {
		at, err := e.view.gate.Inspect(name)
		switch {
		case err != nil || at.Mode == "":
			continue // not there, or of mend
		case !at.Ours:
			found = fmt.Sprintf("%s: the link was given program %d", name, at.ProgramID)
		case at.Late > 0:
			found = fmt.Sprintf("%s: %s added after our program", name, policy.Count(at.Late, "queue was", "queues were"))
		default:
			continue
		}
		if err := e.view.gate.Relink(name); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (e *Engine) mendBackstop() (string, error) {
	at, err := e.view.gate.Backstop()
	if err != nil || !at.Attached || at.Ours {
		return "", err
	}
	return fmt.Sprintf("the link of the backstop was given program %d", at.ProgramID), e.view.gate.RelinkBackstop()
}

func (e *Engine) mendMaps() (string, error) {
	restored, err := e.view.gate.Tables.RestoreMaps()
	if len(restored) == 0 {
		return "", err
	}
	slices.Sort(restored)
	return "not in its place was " + strings.Join(restored, ", "), err
}

// mendOwners holds the rows of all owners to what is desired.
func (e *Engine) mendOwners() (found string, err error) {
	for name, number := range e.view.compiler.Owners.All() {
		want := compile.OwnerRule(e.view.Overrides, name)
		same, err := e.view.gate.Tables.SameOwner(number, want)
		if err == nil && !same {
			found = "the row of owner " + name + " was written to"
			err = e.view.gate.Tables.SetOwner(number, want)
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// mendPins pins again what the next daemon is to find.
func (e *Engine) mendPins() {
	restored, err := e.view.gate.Repin()
	if err != nil {
		e.drift.failed["pins"] = Problem{
			Code: "not_repaired", Subject: "pins", Text: fmt.Sprintf("not known to be pinned, and without pins the gate ends with this daemon: %v", err), Hint: "xdpallow status",
		}
	}
	for what, names := range map[string][]string{"link": restored.Links, "program": restored.Programs, "map": restored.Counters} {
		if len(names) > 0 {
			slices.Sort(names)
			e.repair(what, fmt.Sprintf("the %s of %s was unpinned", what, strings.ReplaceAll(strings.Join(names, ", "), "/", "the ")))
		}
	}
}

// index is which interface has the name now, 0 when there is none.
func index(name string) int {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return device.Index
}

// mendPrefilter asks for a part of the entries whether they would be dropped unseen.
func (e *Engine) mendPrefilter() (string, error) {
	lacking, err := e.view.gate.Tables.Unfiltered(e.drift.checked)
	if err != nil {
		return "", err
	}
	if len(lacking) == 0 {
		if lacking, err = e.unseen(); err != nil || len(lacking) == 0 {
			return "", err
		}
	}
	return fmt.Sprintf("the prefilter was emptied of %s", named(lacking)), e.republish()
}

// unseen asks the twin for some of the entries, and returns those that it does not know.
func (e *Engine) unseen() (unknown []netip.Prefix, err error) {
	attached, checked := e.view.gate.Attached(), e.drift.checked
	if len(attached) == 0 || len(e.view.Policy.Services) == 0 {
		return nil, nil
	}
	port := e.view.Policy.Services[0].Ports[0]
	for i := range min(canaries, len(checked)) {
		p := checked[i*len(checked)/min(canaries, len(checked))]
		answer, err := e.view.gate.AskOpening(attached[0], p.Addr(), port.Protocol == policy.TCP, port.Number)
		if err != nil {
			return nil, err
		}
		if answer.Reason == maps.NotListed {
			unknown = append(unknown, p)
		}
	}
	return unknown, nil
}

// republish makes the kernel have the state that stands, as the generation that it is.
func (e *Engine) republish() error {
	compiled, err := e.view.compiler.Policy(e.view.State, e.view.gate.Tables.Generation())
	if err != nil {
		return err
	}
	used, err := e.view.gate.Tables.Publish(compiled)
	e.view.fold(used)
	return err
}

// named names the first few.
func named(prefixes []netip.Prefix) string {
	slices.SortFunc(prefixes, policy.ComparePrefix)
	const few = 3
	var names []string
	for _, p := range prefixes[:min(few, len(prefixes))] {
		names = append(names, p.String())
	}
	if more := len(prefixes) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
