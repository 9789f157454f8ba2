package policy

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var anyServices = rapid.Custom(func(t *rapid.T) []Service {
	var services []Service
	taken := map[Port]bool{}
	for _, name := range []string{"a", "b", "c"} {
		s := Service{Name: name, Mode: rapid.SampledFrom(Modes).Draw(t, "mode"), Scope: rapid.SampledFrom(Scopes).Draw(t, "scope")}
		for n := range rapid.IntRange(0, 3).Draw(t, "ports") {
			port := Port{rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(t, fmt.Sprint("protocol ", n)), rapid.Uint16Range(1, 5).Draw(t, "number")}
			if !taken[port] {
				taken[port], s.Ports = true, append(s.Ports, port)
			}
		}
		slices.SortFunc(s.Ports, ComparePort)
		if len(s.Ports) > 0 {
			services = append(services, s)
		}
	}
	return services
})

// how much of an unlisted source's traffic to p is dropped: nothing, or by a scope.
func drops(services []Service, p Port) int {
	for _, s := range services {
		if slices.Contains(s.Ports, p) && s.Mode == Enforce {
			return 1 + slices.Index(Scopes, s.Scope)
		}
	}
	return 0
}

// Promise: an opening is a port at which less is dropped than before, every such port is
// told, and what is kept shut drops nowhere less than before or than was asked for.
func TestKeptShut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := anyServices.Draw(t, "old"), anyServices.Draw(t, "new")
		kept := KeptShut(old, new)
		openings := Openings(old, new)
		var want, got []Port
		for _, protocol := range []Protocol{TCP, UDP} {
			for number := range uint16(6) {
				p := Port{protocol, number}
				before, after := drops(old, p), drops(new, p)
				if after < before {
					want = append(want, p)
				}
				if drops(kept, p) < max(before, after) {
					t.Errorf("%s drops %d, before %d, asked for %d: kept %v", p, drops(kept, p), before, after, kept)
				}
			}
		}
		for _, o := range openings {
			got = append(got, o.Port)
		}
		slices.SortFunc(want, ComparePort)
		if !slices.Equal(got, want) {
			t.Errorf("openings are %v, want %v", openings, want)
		}
		if len(openings) == 0 && !slices.EqualFunc(kept, new, Service.Equal) {
			t.Errorf("nothing opens, and %v was made of %v", kept, new)
		}
		names, ports := map[string]bool{}, map[Port]bool{}
		for _, s := range kept {
			if len(s.Ports) == 0 || names[s.Name] {
				t.Errorf("kept are %v", kept)
			}
			names[s.Name] = true
			for _, p := range s.Ports {
				if ports[p] {
					t.Errorf("%s is in two services: %v", p, kept)
				}
				ports[p] = true
			}
		}
	})
}

func TestServiceChangeReads(t *testing.T) {
	service := func(name string, mode Mode, scope Scope, numbers ...uint16) Service {
		s := Service{Name: name, Mode: mode, Scope: scope}
		for _, n := range numbers {
			s.Ports = append(s.Ports, Port{TCP, n})
		}
		return s
	}
	old := []Service{service("admin", Enforce, ScopeStrict, 22, 23), service("api", Enforce, ScopeSYN, 443), service("old", Audit, ScopeSYN, 80)}
	new := []Service{service("admin", Audit, ScopeSYN, 22, 24), service("api", Enforce, ScopeSYN, 443), service("web", Enforce, ScopeSYN, 80, 81)}
	var lines []string
	for _, c := range DiffServices(old, new) {
		lines = append(lines, c.Sign()+" "+c.String())
	}
	for _, o := range Openings(old, new) {
		lines = append(lines, "! "+o.String())
	}
	want := []string{
		"~ service admin: ports +tcp/24 -tcp/23, mode enforce → audit, drop strict → syn",
		"- service old: tcp/80, audit, drop syn",
		"+ service web: tcp/80,tcp/81, enforce, drop syn",
		"! tcp/22 opens to everybody (audit)",
		"! tcp/23 opens to everybody",
	}
	if d := diff(want, lines); d != "" {
		t.Error(d)
	}
}
