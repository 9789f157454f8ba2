package problems_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/undo"
)

var now = time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)

func service(t *testing.T, name, port string) policy.Service {
	t.Helper()
	parsed, err := policy.ParsePort(port)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Service{Name: name, Ports: []policy.Port{parsed}, Mode: policy.Enforce}
}

// Promise: each thing that is wrong is a problem of its own, with the file or directory that it
// is about and with the command that mends it, as this daemon is reached; what is in order is none.
func TestEachFactIsAProblem(t *testing.T) {
	api443 := service(t, "api", "443")
	orphan := policy.Claim{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Origin: policy.OriginCLI, Services: []string{"gone"}}
	state, err := desired.New([]policy.Service{api443}, nil, []policy.Claim{orphan}, now)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := desired.New([]policy.Service{api443}, nil, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	list := policy.FileOrigin("/etc/customers.list")
	elsewhere := policy.Origin("dns:api.example.com")
	config := declared.Sources{Config: "/etc/xdpallow.yaml"}
	typed := declared.Sources{Services: []policy.Service{api443}}
	for _, c := range []struct {
		name                string
		facts               problems.Facts
		code, subject, hint string // code "": no problem
	}{
		{"nothing", problems.Facts{State: whole}, "", "", ""},
		{"noted", problems.Facts{Noted: problems.Noted{"events": {Code: "events", Hint: "systemctl restart xdpallow"}}}, "events", "", "systemctl restart xdpallow"},
		{"a file fails", problems.Facts{Failing: declared.Failing{list: errors.New("bad")}}, "origin_failing", string(list), "xdpallow reload --dry-run --socket /s"},
		{"kept shut", problems.Facts{Sources: config, Kept: declared.Kept{Backstop: true}}, "kept_shut", config.Config, "xdpallow reload --allow-open --socket /s"},
		{"held", problems.Facts{Held: undo.Held{Generation: 3, Origins: []policy.Origin{list}}}, "held", string(list), "xdpallow reload --socket /s"},
		{"an orphan", problems.Facts{State: state}, "service_missing", "cli", "xdpallow list --socket /s"},
		{"no list yet", problems.Facts{Followed: follow.Origins{elsewhere: {Every: time.Minute}}}, "origin_pending", string(elsewhere), "xdpallow reload --socket /s"},
		{"audit by the config", problems.Facts{Sources: config, Found: []api.Problem{{Code: "audit"}}}, "audit", "", "set mode: enforce in /etc/xdpallow.yaml, then: xdpallow reload"},
		{"audit by a flag", problems.Facts{Sources: typed, Found: []api.Problem{{Code: "audit"}}}, "audit", "", "restart without --mode audit"},
		{"audit with an end", problems.Facts{Found: []api.Problem{{Code: "audit", Hint: "xdpallow mode enforce"}}}, "audit", "", "xdpallow mode enforce --socket /s"},
		{"UDP, by the config", problems.Facts{Sources: config, State: whole, Found: []api.Problem{{Code: "udp_unguarded", Subject: "udp/443"}}}, "udp_unguarded", "udp/443", "add udp/443 to the ports of service api in /etc/xdpallow.yaml, then: xdpallow reload"},
		{"UDP, by a flag", problems.Facts{Sources: typed, State: whole, Found: []api.Problem{{Code: "udp_unguarded", Subject: "udp/443"}}}, "udp_unguarded", "udp/443", "restart with --port udp/443"},
		{"two commands", problems.Facts{Found: []api.Problem{{Code: "state_open", Hint: "xdpallow a; xdpallow b"}}}, "state_open", "", "xdpallow a; xdpallow b"},
		{"twice the same", problems.Facts{Found: []api.Problem{{Code: "mtu"}, {Code: "mtu"}}}, "mtu", "", ""},
	} {
		c.facts.HintFlags, c.facts.Now = " --socket /s", now
		all := c.facts.All()
		switch {
		case c.code == "" && len(all) > 0:
			t.Errorf("%s: problems %+v", c.name, all)
		case c.code != "" && (len(all) != 1 || all[0].Code != c.code || all[0].Subject != c.subject || all[0].Hint != c.hint):
			t.Errorf("%s: problems %+v, want one: %s %s, hint %q", c.name, all, c.code, c.subject, c.hint)
		}
	}
}

// Promise: problems stand in the order of their codes, whatever they come from.
func TestProblemsAreSorted(t *testing.T) {
	all := problems.Facts{
		Noted: problems.Noted{"events": {Code: "events"}, "change_log": {Code: "change_log"}},
		Found: []api.Problem{{Code: "mtu"}, {Code: "canary"}},
	}.All()
	var codes []string
	for _, p := range all {
		codes = append(codes, p.Code)
	}
	if want := []string{"canary", "change_log", "events", "mtu"}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}
}

// Promise: what is wrong with the state directory names the path and the command.
func TestProblemsOfState(t *testing.T) {
	if all := problems.OfState("/s", "", 0, nil, nil); len(all) > 0 {
		t.Errorf("a directory in order has %+v", all)
	}
	all := problems.OfState("/s", "mode 0777", 7, []store.Trouble{{Path: "/s/state.db", Text: "damaged"}}, errors.New("torn"))
	if len(all) != 3 || all[0].Hint != "chown 7 /s; chmod 700 /s" || all[1].Subject != "/s/state.db" || all[2].Code != "state_torn" {
		t.Errorf("problems %+v", all)
	}
	for _, p := range []api.Problem{problems.NoRoom("/s", errors.New("full")), problems.Unwritable("/s", errors.New("full"))} {
		if p.Code != api.Unwritable || p.Subject != "/s" || p.Hint != "df /s" || !strings.HasSuffix(p.Text, ": full") {
			t.Errorf("problem %+v", p)
		}
	}
}
