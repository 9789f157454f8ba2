package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

func TestOrigins(t *testing.T) {
	f, err := Parse(path, []byte(`origins:
  partner:
    url: https://partner.example/egress.txt?token=1
    owner: partner
  hooks:
    url: https://api.github.com/meta
    owner: github
    services: [web, api]
    format: json
    under: hooks
    every: 1h
    stale: 7d
    ca: ca.pem
    max_entries: 50
    max_addresses: 34_359_738_368
    widest: {ipv4: /20, ipv6: 29}
  s3:
    url: http://127.0.0.1:8080/ip-ranges.json
    owner: aws
    format: json
    where: [service=S3, region=eu-west-1]
    under: [prefixes, a.b]
  lines: {url: "https://[2001:db8::1]:8443/", owner: "*", private: true}
  branch:
    dns: [vpn.branch.example, VPN2.branch.example.]
    owner: acme
    hold: 5m
    stale: 1d
`))
	if err != nil {
		t.Fatal(err)
	}
	page := source.Settings{Limits: source.URLLimits, Every: 5 * time.Minute}
	partner, hooks, s3, lines := page, page, page, page
	partner.Name, partner.URL, partner.Owner = "partner", "https://partner.example/egress.txt?token=1", "partner"
	hooks.Name, hooks.URL, hooks.Owner, hooks.Services = "hooks", "https://api.github.com/meta", "github", []string{"api", "web"}
	hooks.JSON, hooks.Every, hooks.Stale, hooks.CA = &source.Rule{Under: []string{"hooks"}}, time.Hour, 7*24*time.Hour, "/etc/x/ca.pem"
	hooks.Limits = source.Limits{Entries: 50, Addresses: 1 << 35, Widest4: 20, Widest6: 29}
	s3.Name, s3.URL, s3.Owner = "s3", "http://127.0.0.1:8080/ip-ranges.json", "aws"
	s3.JSON = &source.Rule{Under: []string{"prefixes", "a.b"}, Where: []source.Condition{{Key: "service", Value: "S3"}, {Key: "region", Value: "eu-west-1"}}}
	lines.Name, lines.URL, lines.Owner, lines.Limits.Private = "lines", "https://[2001:db8::1]:8443/", source.AnyOwner, true
	branch := source.Settings{
		Name: "branch", Names: []string{"vpn.branch.example", "vpn2.branch.example"}, Owner: "acme",
		Every: time.Minute, Hold: 5 * time.Minute, Stale: 24 * time.Hour,
		Limits: source.Limits{Entries: 32, Addresses: math.MaxUint64, Widest4: 32, Widest6: 128},
	}
	if diff := cmp.Diff([]source.Settings{partner, hooks, s3, lines, branch}, f.Origins); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Promise: an origin that is not understood is refused with its line, and never followed with
// other bounds than somebody wrote.
func TestMistakesInOrigins(t *testing.T) {
	const (
		urlKeys = "the keys of origin p are url, ca, every, format, under, where, max_addresses, widest, owner, services, max_entries, private, stale"
		dnsKeys = "the keys of origin p are dns, hold, owner, services, max_entries, private, stale"
		page    = "url: https://p.example/, owner: p"
	)
	for _, c := range []struct{ keys, want, hint string }{
		{"owner: p", "2: origin p has none of etcd, url, dns", ""},
		{"url: https://p.example/, dns: [a.example], owner: p", "3: origin p has both url and dns: make two origins of it", ""},
		{page + ", evry: 5m", `3: unknown key "evry": ` + urlKeys, ""},
		{page + ", hold: 5m", `3: unknown key "hold": ` + urlKeys, ""},
		{"dns: [a.example], owner: p, every: 5m", `3: unknown key "every": ` + dnsKeys, ""},
		{"url: https://p.example/", "2: origin p has no owner", ""},
		{"url: https://p.example/, owner: P", `3: owner "P" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "p"},
		{"url: http://p.example/list, owner: p", `3: url "http://p.example/list" has no TLS: anybody on the way could list himself`, "https://p.example/list"},
		{"url: ftp://p.example/, owner: p", `3: url "ftp://p.example/" is not https://HOST/PATH`, ""},
		{"url: 'https:///x', owner: p", `3: url "https:///x" is not https://HOST/PATH`, ""},
		{"url: 'https://u:p@p.example/', owner: p", "3: url has a user name or a password, which the config file should not hold", ""},
		{page + ", every: 10s", "3: every 10s is less than 30s", ""},
		{page + ", every: 1h, stale: 2h", "2: origin p: stale 2h is less than four looks of 1h: its entries could end between two of them", ""},
		{page + ", format: xml", `3: format "xml" is not text or json`, ""},
		{page + ", under: hooks", "3: under and where are of format: json", "format: json"},
		{page + ", format: json, under: a..b", "3: under is not KEY, KEY.KEY or [KEY, KEY]", ""},
		{page + ", format: json, where: [S3]", `3: where "S3" is not KEY=VALUE`, ""},
		{page + ", format: json, where: [a=1, a=2]", `3: where has "a" twice, and nothing is both`, ""},
		{"url: https://p.example/, owner: '*', format: json", "2: origin p: a JSON document names no owners", ""},
		{page + ", max_entries: many", `3: max_entries "many" is not a number from 1 to 2000000`, ""},
		{page + ", max_addresses: 0", `3: max_addresses "0" is not a number from 1 to 4611686018427387904`, ""},
		{page + ", widest: {ipv4: /0}", `3: widest "/0" is not a length from /1 to /32`, ""},
		{page + ", widest: /8", "3: widest is a text, not keys with values", ""},
		{page + ", private: 1", `3: private "1" is not true or false`, ""},
		{"dns: [], owner: p", "2: origin p has no name in dns", ""},
		{"dns: [192.0.2.1], owner: p", `3: "192.0.2.1" is an address: list it in allow`, "allow: [192.0.2.1]"},
		{"dns: [vpn], owner: p", `3: "vpn" is not the full name of a host, as vpn.example.net`, ""},
		{"dns: ['*.example.net'], owner: p", `3: "*.example.net" is not the full name of a host, as vpn.example.net`, ""},
		{"dns: [a.example], owner: '*'", "3: a host name names no owner: name him here", ""},
		{"dns: [a.example], owner: p, stale: 1m", "2: origin p: stale 1m is less than four looks of 1m: its entries could end between two of them", ""},
	} {
		f, err := Parse(path, []byte("origins:\n  p:\n    {"+c.keys+"}\n"))
		if len(f.Origins) > 0 || err == nil || err.Error() != path+":"+c.want {
			t.Errorf("%s:\n%v\nwant\n%s:%s", c.keys, err, path, c.want)
			continue
		}
		if input, _ := errors.AsType[*policy.InputError](err); input.Hint != c.hint {
			t.Errorf("%s: hint %q, want %q", c.keys, input.Hint, c.hint)
		}
	}
}

// Promise: each list of a fleet is an origin of its own, with the bounds that somebody wrote.
func TestOriginsInEtcd(t *testing.T) {
	f, err := Parse(path, []byte(`origins:
  prod:
    etcd: [https://etcd1.example.net:2379, "https://[2001:db8::2]:2379"]
    ca: etcd-ca.pem
    cert: web7.pem
    key: /etc/keys/web7.pem
    group: canary
  test: {etcd: ["http://127.0.0.1:2379"], fleet: prod, lists: [portal, main], max_entries: 500, widest: {ipv4: /16}}
`))
	if err != nil {
		t.Fatal(err)
	}
	prod := source.Settings{Name: "prod", Owner: source.AnyOwner, Every: time.Minute, Limits: source.EtcdLimits, Etcd: &source.Etcd{
		Endpoints: []string{"https://etcd1.example.net:2379", "https://[2001:db8::2]:2379"},
		CA:        "/etc/x/etcd-ca.pem", Cert: "/etc/x/web7.pem", Key: "/etc/keys/web7.pem", Group: "canary", Fleet: "prod", List: "main",
	}}
	portal := source.Settings{Name: "test", Owner: source.AnyOwner, Every: time.Minute, Limits: source.EtcdLimits, Etcd: &source.Etcd{
		Endpoints: []string{"http://127.0.0.1:2379"}, Fleet: "prod", List: "portal",
	}}
	portal.Limits.Entries, portal.Limits.Widest4 = 500, 16
	list := portal
	list.Etcd = &source.Etcd{Endpoints: portal.Etcd.Endpoints, Fleet: "prod", List: "main"}
	if diff := cmp.Diff([]source.Settings{prod, list, portal}, f.Origins); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var names []policy.Origin
	for _, s := range f.Origins {
		names = append(names, s.Origin())
	}
	if want := []policy.Origin{"etcd:prod", "etcd:test", "etcd:test/portal"}; !slices.Equal(names, want) {
		t.Errorf("origins are %v, want %v", names, want)
	}
}

// Promise: a list of a fleet that could never come, or that anybody on the way could write, is
// refused with its line.
func TestMistakesInEtcdOrigins(t *testing.T) {
	const secret = "etcd: ['https://e.example:2379'], cert: c, key: k"
	for keys, want := range map[string]string{
		"etcd: []":                                         "2: origin p has no endpoint in etcd",
		"etcd: ['https://e.example:2379']":                 "2: origin p has no cert and no key: by them etcd knows this host",
		"etcd: ['http://127.0.0.1:2379'], cert: c":         "2: origin p needs cert and key, and has one of them",
		"etcd: ['http://e.example:2379']":                  `3: endpoint "http://e.example:2379" has no TLS: anybody on the way could list himself`,
		"etcd: [e.example]":                                `3: endpoint "e.example" is not https://HOST:PORT`,
		"etcd: ['https://e.example:2379/v3']":              `3: endpoint "https://e.example:2379/v3" is not https://HOST:PORT`,
		"etcd: 'https://e.example:2379'":                   "3: etcd is a text, not a list",
		secret + ", lists: []":                             "3: lists is not a list of names, each once",
		secret + ", lists: [a, a]":                         "3: lists is not a list of names, each once",
		secret + ", group: A":                              `3: group "A" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`,
		secret + ", owner: p":                              `3: unknown key "owner": the keys of origin p are etcd, ca, cert, key, group, fleet, lists, max_entries, widest`,
		"etcd: ['https://e.example:2379'], url: https://x": "3: origin p has both etcd and url: make two origins of it",
	} {
		f, err := Parse(path, []byte("origins:\n  p:\n    {"+keys+"}\n"))
		if first, _, _ := strings.Cut(fmt.Sprint(err), "\n"); len(f.Origins) > 0 || first != path+":"+want {
			t.Errorf("%s:\n%v\nwant\n%s:%s", keys, err, path, want)
		}
	}

	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "origins:\n  p:\n    etcd: ['https://e.example:2379']\n    cert: c.pem\n    key: config.yaml\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := file + ":4: cert cannot be read: open " + filepath.Join(filepath.Dir(file), "c.pem") + ": no such file or directory"
	if f, err := Read(file); len(f.Origins) > 0 || err == nil || err.Error() != want {
		t.Errorf("a file that is not there: %v\nwant\n%s", err, want)
	}
}

// Promise: an origin for a service that nobody could connect to is refused, wherever the file has its
// services. A file that leaves the services to the flags knows none.
func TestOriginsForServices(t *testing.T) {
	const origin = "origins:\n  p: {url: https://p.example/, owner: p, services: [api, apl]}\n"
	const services = "services: {api: {ports: [8443]}, web: {ports: [80]}}\n"
	for text, want := range map[string]string{
		origin + services: path + ":2: origin p is for service apl, which is not in services (api, web)",
		services + origin: path + ":3: origin p is for service apl, which is not in services (api, web)",
		origin:            "",
		services + strings.ReplaceAll(origin, "apl", "web"): "",
	} {
		_, err := Parse(path, []byte(text))
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s:\n%v\nwant\n%s", text, err, want)
		}
	}
}

// Promise: what README shows is what a config file can say.
func TestOriginsInReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## Lists that are kept elsewhere")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	block, _, _ := strings.Cut(rest, "```")
	f, err := Parse(path, []byte(block))
	if err != nil || len(f.Origins) != 3 {
		t.Errorf("%d origins, %v in\n%s", len(f.Origins), err, block)
	}
}
