package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// FuzzParse holds the parser to what its callers build on: it ends, the same bytes
// say the same, each error is an input error of this file, and what is accepted is
// fit for the pipeline.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "interfaces: [eth0]\nservices: {api: {ports: [443, udp/443], mode: audit, drop: stray}}\n",
		"allow: [192.0.2.0/24 owner=acme service=api until=2027-01-31, {prefix: '2001:db8::/32', services: [a, b], until: 2027-01-31, note: x}]\n",
		"allow_files: [a]\nattach: auto\nbackstop: on\nstate: /s\nsocket: s\nbpffs: b\nmetrics: :1\nlog_format: text\n",
		"origins: {a: {url: 'https://a.example/', owner: '*', every: 30s, stale: 7d}, b: {dns: [b.example], owner: b, hold: 5m, private: true}}\n",
		"origins:\n  c: {url: 'https://c.example', owner: c, format: json, under: [x, y], where: [a=b], widest: {ipv4: /8}, max_entries: 1}\n",
		"origins: {prod: {etcd: ['https://e.example:2379'], cert: c, key: k, group: canary, fleet: f, lists: [main, portal]}}\n",
		"enrol: {a: {for: 1h, addresses: 4, within: [198.51.100.0/24, '2001:db8::/32'], services: [api]}, b: {for: 1d, addresses: 1}}\n",
		"a: &a [*a]\n", "? [x]\n: y\n", "<<: {attach: auto}\n", "--- \n---\n", "attach: auto\n\tx", "allow: [!!binary aGk=]\n", "state: !!int 7\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse(path, text)
		again, err2 := Parse(path, text)
		if diff := cmp.Diff(file, again, compare); diff != "" || (err == nil) != (err2 == nil) {
			t.Errorf("a second reading says something else: %v, %v\n%s", err, err2, diff)
		}
		if err != nil {
			errs := []error{err}
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				errs = joined.Unwrap()
			}
			for _, one := range errs {
				input, ok := errors.AsType[*policy.InputError](one)
				if !ok || input.Where != path && !strings.HasPrefix(input.Where, path+":") || input.What == "" {
					t.Errorf("error %#v has no place in the file", one)
				}
			}
			return
		}
		if err := policy.ValidateServices(file.Services); err != nil {
			t.Errorf("services that are none: %v", err)
		}
		seen := map[string]bool{}
		for _, c := range file.Claims {
			line, _, err := policy.ParseLine(policy.FormatLine(c))
			line.Origin, line.Where = c.Origin, c.Where
			if diff := cmp.Diff(c, line, compare); diff != "" || err != nil {
				t.Errorf("an entry that no list could hold: %v\n%s", err, diff)
			}
			if seen[c.Prefix.String()] || c.Origin != policy.OriginConfig || !strings.HasPrefix(c.Where, path+":") {
				t.Errorf("claim %+v", c)
			}
			seen[c.Prefix.String()] = true
		}
		for _, o := range file.Origins {
			if !slices.Equal([]bool{true}, slices.DeleteFunc([]bool{o.URL != "", len(o.Names) > 0, o.Etcd != nil && len(o.Etcd.Endpoints) > 0}, func(is bool) bool { return !is })) || o.Owner == "" || o.Limits.Entries < 1 || o.Limits.Addresses < 1 || o.Limits.Widest4 < 1 ||
				o.Limits.Widest6 < 1 || o.Every < atLeast || o.Stale < 0 || o.Stale > 0 && o.Stale < 4*o.Every {
				t.Errorf("an origin that cannot be followed: %+v", o)
			}
		}
		for owner, l := range file.Enrol {
			if policy.ParseName("owner", owner) != nil || l.For <= 0 || l.Addresses < 1 || l.Within != nil && len(l.Within) == 0 {
				t.Errorf("%s enrols by %+v", owner, l)
			}
		}
		for _, place := range append([]string{file.State, file.Socket, file.Bpffs}, file.Files...) {
			if place != "" && !filepath.IsAbs(place) {
				t.Errorf("path %q is not absolute", place)
			}
		}
	})
}
