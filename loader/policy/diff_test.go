package policy

import (
	"testing"

	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	entry := func(prefix, owner, where string) Entry {
		p := pfx(prefix)
		return EntryOf(Claim{Prefix: p, Owner: owner, Origin: file, Where: where})
	}
	service := Service{Name: "api", Ports: []Port{{TCP, 443}}, Mode: Enforce, Scope: ScopeSYN}
	audit := service
	audit.Mode = Audit
	before := []Entry{entry("10.0.0.0/8", "a", "1"), entry("10.0.0.0/16", "b", "2"), entry("2001:db8::/32", "", "3")}
	after := []Entry{entry("9.0.0.0/8", "", "1"), entry("10.0.0.0/8", "a", "9"), entry("10.0.0.0/16", "c", "2")}
	old, new := State{Services: []Service{service}, Entries: NewEntries(before)}, State{Services: []Service{audit}, Entries: NewEntries(after)}
	want := Plan{
		Added: after[:1], Removed: before[2:], Changed: after[2:], Was: before[1:2], ServicesChanged: true,
		Services: []ServiceChange{{&service, &audit}},
		Opens:    []Opening{{Port{TCP, 443}, WhyAudit, "tcp/443 opens to everybody (audit)"}},
	}
	if d := diff(want, Diff(old, new)); d != "" {
		t.Error(d)
	}
	if !Diff(old, old).Empty() || Diff(old, new).Empty() || (Plan{ServicesChanged: true}).Empty() {
		t.Error("Empty is wrong")
	}
}

// Guards that each change is seen by those it concerns: list, the kernel, nobody.
func TestEntryEqual(t *testing.T) {
	base := Claim{Prefix: block, Origin: file, Where: "a.list:1"}
	said := func(change func(*Claim)) Entry {
		c := base
		change(&c)
		return EntryOf(c)
	}
	more := Claim{Prefix: block, Origin: OriginFlag}
	stopped := EntryOf(base)
	stopped.Suspended = true
	for _, c := range []struct {
		name          string
		changed       Entry
		equal, kernel bool
	}{
		{"nothing", said(func(*Claim) {}), true, true},
		{"place", said(func(c *Claim) { c.Where = "a.list:2" }), true, true},
		{"note", said(func(c *Claim) { c.Note = "x" }), false, true},
		{"origin", said(func(c *Claim) { c.Origin, c.Where = OriginCLI, "" }), false, true},
		{"one origin more", mergeOne([]Claim{base, more}, now), false, true},
		{"prefix", said(func(c *Claim) { c.Prefix = pfx("203.0.113.0/25") }), false, false},
		{"owner", said(func(c *Claim) { c.Owner = "acme" }), false, false},
		{"services", said(func(c *Claim) { c.Services = []string{"api"} }), false, false},
		{"until", said(func(c *Claim) { c.Until = future }), false, false},
		{"suspended", stopped, false, false},
	} {
		if was := EntryOf(base); was.Equal(c.changed) != c.equal || KernelEqual(was, c.changed) != c.kernel {
			t.Errorf("%s: Equal %v, KernelEqual %v", c.name, was.Equal(c.changed), KernelEqual(was, c.changed))
		}
	}
}

// A plan is complete: done to old it gives new.
func TestDiffApplies(t *testing.T) {
	states := rapid.Custom(func(t *rapid.T) State {
		entries, err := Merge(someClaims().Draw(t, "claims"), now)
		if err != nil {
			t.Fatal(err)
		}
		return State{Entries: NewEntries(entries)}
	})
	rapid.Check(t, func(t *rapid.T) {
		old, new := states.Draw(t, "old"), states.Draw(t, "new")
		plan := Diff(old, new)
		result := make(map[string]Entry)
		for e := range old.Entries.All() {
			result[e.Prefix.String()] = *e
		}
		for _, e := range plan.Removed {
			delete(result, e.Prefix.String())
		}
		for _, e := range append(plan.Changed, plan.Added...) {
			result[e.Prefix.String()] = e
		}
		if len(result) != new.Entries.Len() {
			t.Fatalf("%d entries, want %d", len(result), new.Entries.Len())
		}
		for e := range new.Entries.All() {
			if !result[e.Prefix.String()].Equal(*e) {
				t.Fatalf("%v is %v", e, result[e.Prefix.String()])
			}
		}
	})
}
