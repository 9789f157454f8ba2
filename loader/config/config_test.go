package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const path = "/etc/x/config.yaml"

var compare = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// flatten is every message of a joined error.
func flatten(err error) (messages []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			messages = append(messages, flatten(one)...)
		}
	} else if err != nil {
		messages = append(messages, err.Error())
	}
	return messages
}

func TestParse(t *testing.T) {
	got, err := Parse(path, []byte(`# comment
interfaces: [eth1, eth0, eth1]
services:
  web: {ports: [80, tcp/443, udp/443, 443], host: WWW.example.net.}
  api:
    ports: [8443]
    mode: audit
    drop: strict
allow:
  - 192.0.2.0/24
  - 198.51.100.0/28 owner=acme service=web,api until=2027-01-31 # office
  - prefix: 2001:db8::/32
    owner: globex
    services: [web]
    until: 2027-01-31T18:00:00Z
    note: "contract: 4711"
  - {prefix: 203.0.113.9, service: "api, web"}
  - 192.0.2.0/24   # the same words, once
  - ::ffff:203.0.113.10
allow_files: [allow.d, /srv/../srv/b.list]
attach: native
backstop: off
state: state
socket: /run/x.sock
bpffs: ../bpf/
metrics: :9100
web_config_file: web.yml
owner: {socket: owner.sock, group: www-data, listen: '[::1]:9464'}
enrol:
  acme: {for: 1h, addresses: 4, within: [198.51.0.0/16, '2001:db8::/32'], services: [web, api]}
  globex: {for: 1d, addresses: 1}
log_format: json
owners:
  initech: {probe: allowed}
  acme:
    probe: allowed
  globex:
`))
	if err != nil {
		t.Error(err)
	}
	until := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	entry := func(line, prefix, owner string, until time.Time, note string, services ...string) policy.Claim {
		return policy.Claim{Prefix: pfx(prefix), Owner: owner, Services: services, Until: until, Note: note, Origin: policy.OriginConfig, Where: path + ":" + line}
	}
	want := File{
		Settings: Settings{
			Interfaces: []string{"eth0", "eth1"}, Attach: "native", Backstop: "off", State: "/etc/x/state", Socket: "/run/x.sock",
			Bpffs: "/etc/bpf", Metrics: ":9100", LogFormat: "json", WebConfig: "/etc/x/web.yml",
			Owner: Owner{Socket: "/etc/x/owner.sock", Group: "www-data", Listen: "[::1]:9464"},
			Enrol: enrol.Settings{
				"acme":   {For: time.Hour, Addresses: 4, Within: []netip.Prefix{pfx("198.51.0.0/16"), pfx("2001:db8::/32")}, Services: []string{"api", "web"}},
				"globex": {For: 24 * time.Hour, Addresses: 1},
			},
		},
		Services: []policy.Service{
			{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 8443}}, Mode: policy.Audit, Scope: policy.ScopeStrict},
			{
				Name: "web", Mode: policy.Enforce, Scope: policy.ScopeSYN,
				Ports: []policy.Port{{Protocol: policy.TCP, Number: 80}, {Protocol: policy.TCP, Number: 443}, {Protocol: policy.UDP, Number: 443}},
			},
		},
		Claims: []policy.Claim{
			entry("10", "192.0.2.0/24", "", time.Time{}, ""),
			entry("11", "198.51.100.0/28", "acme", until.Add(6*time.Hour), "", "api", "web"),
			entry("12", "2001:db8::/32", "globex", until, "contract: 4711", "web"),
			entry("17", "203.0.113.9/32", "", time.Time{}, "", "api", "web"),
			entry("19", "203.0.113.10/32", "", time.Time{}, ""),
		},
		Files:    []string{"/etc/x/allow.d", "/srv/b.list"},
		Probe:    Probe{Allowed: []string{"acme", "initech"}, Hosts: map[string]string{"web": "www.example.net"}},
		Warnings: []string{path + ":19: ::ffff:203.0.113.10 is IPv4-mapped: read as 203.0.113.10/32"},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Promise: a range is each of its ports, beside single ones, and no two services share one.
func TestPortRanges(t *testing.T) {
	f, err := Parse(path, []byte("services:\n  game: {ports: [30000-30002, udp/30000-30001, 443, 30001]}\n"))
	want := []policy.Port{
		{Protocol: policy.TCP, Number: 443},
		{Protocol: policy.TCP, Number: 30000},
		{Protocol: policy.TCP, Number: 30001},
		{Protocol: policy.TCP, Number: 30002},
		{Protocol: policy.UDP, Number: 30000},
		{Protocol: policy.UDP, Number: 30001},
	}
	if err != nil || len(f.Services) != 1 || !slices.Equal(f.Services[0].Ports, want) {
		t.Errorf("services are %v, %v; want %v", f.Services, err, want)
	}
	for text, want := range map[string]string{
		"services:\n  api: {ports: [443]}\n  game: {ports: [400-500]}\n":     ":3: port tcp/443 is in service api and in service game",
		"services:\n  game: {ports: [400-500]}\n  web: {ports: [500-600]}\n": ":3: port tcp/500 is in service game and in service web",
		"services:\n  game: {ports: [500-400]}\n":                            `:2: ports "500-400" end before they begin`,
		"services:\n  game: {ports: [0-400]}\n":                              `:2: ports "0-400" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
	} {
		if _, err := Parse(path, []byte(text)); err == nil || err.Error() != path+want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// YAML takes a comment off before the list grammar sees it: quoted, it is the note.
func TestNoteOfLine(t *testing.T) {
	f, err := Parse(path, []byte("allow: ['192.0.2.0/24 # office', \"198.51.100.0/28 note=\\\"a b\\\"\"]\n"))
	if err != nil || len(f.Claims) != 2 || f.Claims[0].Note != "office" || f.Claims[1].Note != "a b" {
		t.Errorf("claims are %+v, %v", f.Claims, err)
	}
}

// An empty file, and keys whose lists were commented out, say nothing wrong.
func TestParseNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "{}\n", "interfaces:\nservices:\nallow:\nallow_files:\n", "allow: []\nservices: {}\n"} {
		f, err := Parse(path, []byte(text))
		if diff := cmp.Diff(File{}, f, compare); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
}

// Promise: what is not understood is refused with its line, never ignored.
func TestMistakes(t *testing.T) {
	const keys = "interfaces, services, allow, allow_files, origins, owners, attach, backstop, state, socket, bpffs, metrics, web_config_file, owner, enrol, log_format, keep_ended"
	for _, c := range []struct {
		text, want, hint string
	}{
		{"interface: [eth0]", `1: unknown key "interface": the keys of the file are ` + keys, ""},
		{"\n\nAllow: []", `3: unknown key "Allow": the keys of the file are ` + keys, ""},
		{"attach: auto\nattach: native", `2: key "attach" is also in line 1`, ""},
		{"services:\n  api: {ports: [1]}\n  api: {ports: [2]}", `3: key "api" is also in line 2`, ""},
		{"- eth0", "1: the file is a list, not keys with values", ""},
		{"eth0", "1: the file is a text, not keys with values", ""},
		{"interfaces: eth0", "1: interfaces is a text, not a list", ""},
		{"interfaces: {a: b}", "1: interfaces is keys with values, not a list", ""},
		{"interfaces:\n- eth0\n- 7", `3: interfaces is a number, not a text: write "7"`, ""},
		{"interfaces: [a/b]", `1: "a/b" is not the name of an interface`, "ip -br link"},
		{"interfaces: [~]", "1: interfaces is empty, not a text", ""},
		{"attach: offload", `1: attach "offload" is not auto or native or generic`, ""},
		{"attach: [auto]", "1: attach is a list, not a text", ""},
		{"attach:", "1: attach is empty, not a text", ""},
		{"backstop: true", `1: backstop is true or false, not a text: write "true"`, ""},
		{"backstop: yes", `1: backstop "yes" is not on or off`, ""},
		{"keep_ended: 7", `1: keep_ended is a number, not a text: write "7"`, ""},
		{"keep_ended: '7'", `1: "7" is not a duration over 0 as 90d, 1w2d, 36h or 90s`, ""},
		{"log_format: xml", `1: log_format "xml" is not text or json`, ""},
		{"metrics: 9100", `1: metrics is a number, not a text: write "9100"`, ""},
		{"metrics: localhost", `1: metrics "localhost" is not HOST:PORT, as 127.0.0.1:9100`, ""},
		{"owner: 127.0.0.1:9464", "1: owner is a text, not keys with values", ""},
		{"owner: {sockt: /s}", `1: unknown key "sockt": the keys of owner are socket, group, listen`, ""},
		{"owner: {group: www-data}", "1: owner has a group, and no socket that it could be of", ""},
		{"owner: {listen: localhost}", `1: listen "localhost" is not ADDRESS:PORT, as 127.0.0.1:9464`, ""},
		{"owner:\n  listen: ':9464'", `2: listen ":9464" is not ADDRESS:PORT, as 127.0.0.1:9464`, ""},
		{"owner:\n  listen: 0.0.0.0:9464", "2: listen 0.0.0.0:9464 would tell strangers who your customers are: name a loopback or private address, as 127.0.0.1:9464", ""},
		{"owner: {listen: '[::]:9464'}", "1: listen [::]:9464 would tell strangers who your customers are: name a loopback or private address, as 127.0.0.1:9464", ""},
		{"owner: {listen: '[::ffff:0.0.0.0]:1'}", "1: listen [::ffff:0.0.0.0]:1 would tell strangers who your customers are: name a loopback or private address, as 127.0.0.1:9464", ""},
		{"owner: {listen: 203.0.113.1:9464}", "1: listen 203.0.113.1:9464 would tell strangers who your customers are: name a loopback or private address, as 127.0.0.1:9464", ""},
		{"enrol: [acme]", "1: enrol is a list, not keys with values", ""},
		{"enrol: {ACME: {for: 1h, addresses: 1}}", `1: owner "ACME" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "acme"},
		{"enrol:\n  ca: {for: 1h, addresses: 4}", "2: nobody can enrol as ca: clients/ca.pem has the certificates of authorities, who may name anybody", ""},
		{"enrol:\n  acme: {addresses: 4}", "2: enrol acme does not say for how long, as for: 1h", ""},
		{"enrol:\n  acme: {for: 1h}", "2: enrol acme does not say how many, as addresses: 4", ""},
		{"enrol:\n  acme:", "2: enrol acme does not say for how long, as for: 1h", ""},
		{"enrol:\n  acme:\n    for: soon", `3: "soon" is not a duration over 0 as 90d, 1w2d, 36h or 90s`, ""},
		{"enrol: {acme: {for: 1h, addresses: 0}}", `1: addresses "0" is not a number from 1 to 1000`, ""},
		{"enrol: {acme: {for: 1h, addresses: 1, within: []}}", "1: within is empty: leave the key out for everywhere", ""},
		{"enrol: {acme: {for: 1h, addresses: 1, within: [198.51.100.0/24, 10.0.0.0/8]}}", "1: within 10.0.0.0/8 is private or reserved, from where nobody may enrol", ""},
		{"enrol: {acme: {for: 1h, addresses: 1, within: ['2001:db8::7']}}", "1: within 2001:db8::7/128 is longer than the /64 that is enrolled", ""},
		{"enrol: {acme: {for: 1h, addresses: 1, widest: 1}}", `1: unknown key "widest": the keys of enrol acme are for, addresses, within, services`, ""},
		{"enrol: {acme: {for: 1h, addresses: 1, services: [mail]}}\nservices: {api: {ports: [443]}}", "1: enrol acme is for service mail, which is not in services (api)", ""},
		{"owners: [acme]", "1: owners is a list, not keys with values", ""},
		{"owners: {acme: {probes: allowed}}", `1: unknown key "probes": the keys of owner acme are probe`, ""},
		{"owners:\n  acme: {probe: yes}", `2: probe "yes" is not allowed`, ""},
		{"owners:\n  acme: {probe: true}", `2: probe is true or false, not a text: write "true"`, ""},
		{"owners: {ACME: {probe: allowed}}", `1: owner "ACME" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "acme"},
		{"services: {api: {ports: [443], host: 203.0.113.1}}", "1: host 203.0.113.1 is an address: leave it out where clients ask for no name", ""},
		{"services: {api: {ports: [443], host: api}}", `1: "api" is not the full name of a host, as vpn.example.net`, ""},
		{"state: ''", "1: state is empty", ""},
		{"services: [api]", "1: services is a list, not keys with values", ""},
		{"services: {API: {ports: [1]}}", `1: service "API" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "api"},
		{"services:\n  api:", "2: service api has no port", ""},
		{"services:\n  api: {mode: audit}", "2: service api has no port", ""},
		{"services:\n  api: [443]", "2: service api is a list, not keys with values", ""},
		{"services: {api: {ports: 443}}", "1: ports is a number, not a list", ""},
		{"services: {api: {ports: [0]}}", `1: port "0" is not N, tcp/N or udp/N with N from 1 to 65535`, ""},
		{"services: {api: {ports: [443.0]}}", `1: port "443.0" is not N, tcp/N or udp/N with N from 1 to 65535`, ""},
		{"services: {api: {ports: [[443]]}}", "1: ports holds a list, not N, tcp/N, udp/N or a range as 30000-32767", ""},
		{"services: {api: {ports: [443], mode: off}}", `1: mode "off" is not enforce or audit`, ""},
		{"services: {api: {ports: [443], drop: all}}", `1: drop "all" is not syn or stray or strict`, ""},
		{"services: {api: {ports: [443], scope: syn}}", `1: unknown key "scope": the keys of service api are ports, mode, drop, host`, ""},
		{"services:\n  api: {ports: [443]}\n  web: {ports: [tcp/443]}", "3: port tcp/443 is in service api and in service web", ""},
		{"allow: 192.0.2.0/24", "1: allow is a text, not a list", ""},
		{"allow: [7]", `1: allow is a number, not a text: write "7"`, ""},
		{"allow: [10.0.0.5/8]", "1: 10.0.0.5/8 has host bits set", "10.0.0.0/8"},
		{"allow: [192.0.2.0/24 colour=red]", `1: unknown key "colour": the keys are owner, service, until, note`, ""},
		{"allow:\n- '# nothing'", "2: an entry without a prefix", ""},
		{"allow:\n- ''", "2: an entry without a prefix", ""},
		{"allow:\n- {owner: acme}", "2: an entry without a prefix", ""},
		{"allow:\n- prefix: 192.0.2.0/24\n  for: 90d", `3: unknown key "for": the keys of an entry are prefix, owner, service, services, until, note`, ""},
		{"allow:\n- prefix: 192.0.2.0/24\n  owner: 7", `3: owner is a number, not a text: write "7"`, ""},
		{"allow:\n- prefix: 192.0.2.0/24\n  owner: ACME", `3: owner "ACME" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "acme"},
		{"allow:\n- prefix: 192.0.2.0/24\n  until: soon", `3: until "soon" is not a date or an RFC 3339 time from 1970 to 9999, as 2027-01-31 or 2027-01-31T18:00:00Z`, ""},
		{"allow:\n- prefix: 192.0.2.0/24\n  until: 2027", `3: until is a number, not a text: write "2027"`, ""},
		{"allow:\n- {prefix: 192.0.2.0/24, service: api, services: [web]}", "2: service is given twice", ""},
		{"allow:\n- {prefix: 192.0.2.0/24, services: []}", "2: service is empty: leave the key out for every service", ""},
		{"allow:\n- {prefix: 192.0.2.0/24, services: }", "2: service is empty, not a text", ""},
		{"allow:\n- {prefix: 192.0.2.0/24, service: 'api,'}", `2: service "" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, ""},
		{"allow:\n- {prefix: 192.0.2.0/24, note: \"a\\nb\"}", "2: control character U+000A", ""},
		{"allow:\n- 192.0.2.0/24\n- 192.0.2.0/24 owner=acme", "3: 192.0.2.0/24 is also in " + path + ":2, with other words", ""},
		{"allow:\n- &a 192.0.2.0/24\n", "2: anchors and aliases are not read here", ""},
		{"state: &s /s\nsocket: *s", "1: anchors and aliases are not read here|2: anchors and aliases are not read here", ""},
		{"[a]: b", "1: a key of the file is a list, not a word", ""},
		{"attach: auto\n---\nattach: auto", "2: a second document: one file is one config", ""},
		{"attach: auto\n\tx", "2: is not YAML: found a tab character that violates indentation", "xdpallow assets config"},
	} {
		f, err := Parse(path, []byte(c.text))
		got := strings.ReplaceAll(strings.Join(flatten(err), "|"), path+":", "")
		if want := strings.ReplaceAll(c.want, path+":", ""); got != want {
			t.Errorf("%q is %+v, %q, want %q", c.text, f, got, want)
			continue
		}
		input, ok := errors.AsType[*policy.InputError](err)
		if !ok || input.Hint != c.hint || !strings.HasPrefix(input.Where, path+":") {
			t.Errorf("%q: error %#v, want the hint %q", c.text, err, c.hint)
		}
	}
}

// Promise: a file in another encoding says which, as a list does.
func TestEncoding(t *testing.T) {
	_, err := Parse(path, []byte("# caf\xe9\nattach: auto\n"))
	input, ok := errors.AsType[*policy.InputError](err)
	if !ok || input.Error() != path+": the text is Latin-1 or another 8-bit encoding, not UTF-8" || input.Hint != "iconv -f LATIN1 -t UTF-8 "+path+" >"+path+".utf8 && mv "+path+".utf8 "+path {
		t.Errorf("error %#v", err)
	}
}

// All mistakes are told in one go, and a thousand are not a thousand lines.
func TestManyMistakes(t *testing.T) {
	_, err := Parse(path, []byte("interfaces: [a/b]\nattach: x\nallow:\n- 10.0.0.5/8\n- 192.0.2.0/24\n- nonsense\n"))
	got := flatten(err)
	if len(got) != 4 || !strings.HasPrefix(got[0], path+":1: ") || !strings.HasPrefix(got[3], path+":6: ") {
		t.Errorf("told are %q", got)
	}
	_, err = Parse(path, []byte("allow:\n"+strings.Repeat("- x\n", 1000)))
	if got = flatten(err); len(got) != 21 || got[20] != path+": and 980 more" {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}

// A mistake in an entry does not hide where the state is: the last good policy is
// looked for there.
func TestSettingsBesideMistakes(t *testing.T) {
	f, err := Parse(path, []byte("state: s\ninterfaces: [eth0]\nallow: [nonsense]\nservices: {api: {ports: [443]}}\n"))
	if err == nil || f.State != "/etc/x/s" || len(f.Interfaces) != 1 {
		t.Errorf("the file is %+v, %v", f, err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config.yaml")
	if _, err := Read(name); err == nil || err.Error() != name+": cannot be read: no such file or directory" {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(name, []byte("allow_files: [a.list]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Read(name); err != nil || len(f.Files) != 1 || f.Files[0] != filepath.Join(dir, "a.list") {
		t.Errorf("read %+v, %v", f, err)
	}
	if err := os.Truncate(name, maxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(name); err == nil || err.Error() != name+": is larger than 16 MiB: name list files in allow_files" {
		t.Errorf("a large file: %v", err)
	}
}

func TestChanged(t *testing.T) {
	parse := func(text string) Settings {
		f, err := Parse(path, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f.Settings
	}
	const old = "interfaces: [eth0]\nattach: auto\n"
	for text, want := range map[string]string{
		old + "allow: [192.0.2.0/24]\nservices: {api: {ports: [1]}}":                                           "",
		"interfaces: [eth0, eth1]\nattach: native":                                                             "interfaces attach",
		old + "backstop: off\nstate: /s\nsocket: /s\nbpffs: /b\nmetrics: :1\nlog_format: json\nkeep_ended: 1d": "backstop state socket bpffs metrics log_format keep_ended",
		old + "web_config_file: web.yml\nowner: {socket: o.sock}":                                              "web_config_file owner",
		"": "interfaces attach",
	} {
		if got := strings.Join(parse(text).Changed(parse(old)), " "); got != want {
			t.Errorf("%q: %q changed, want %q", text, got, want)
		}
	}
}
