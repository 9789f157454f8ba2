package desired

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: an audit has an end within a week, or is of what run was given, which no command
// starts or ends; when it is over the service enforces again, and until then drops nothing.
func TestMode(t *testing.T) {
	forGood := func(m policy.Mode) string { return "for good: " + string(m) }
	d := State{Policy: policy.State{Services: []policy.Service{
		{Name: "api", Mode: policy.Enforce}, {Name: "mail", Mode: policy.Enforce}, {Name: "open", Mode: policy.Audit},
	}}}
	all := State{Policy: policy.State{Services: d.Policy.Services[2:]}}
	const boot = time.Hour
	for _, c := range []struct {
		d       State
		r       api.ModeRequest
		audits  string
		refused string
	}{
		{d, api.ModeRequest{Mode: policy.Audit, For: "30m"}, "api 1h30m0s, mail 1h30m0s", ""},
		{d, api.ModeRequest{Mode: policy.Audit, For: "7d", Services: []string{"mail"}}, "mail 169h0m0s", ""},
		{d, api.ModeRequest{Mode: policy.Audit, For: "8d"}, "", "--for 8d is too long: an audit lasts at most 7d | for good: audit"},
		{d, api.ModeRequest{Mode: policy.Audit, For: "1h", Services: []string{"open"}}, "", "service open is in audit already, and without an end | xdpallow mode"},
		{all, api.ModeRequest{Mode: policy.Audit, For: "1h"}, "", "every service is in audit already, and without an end | xdpallow mode"},
		{d, api.ModeRequest{Mode: policy.Enforce, Services: []string{"api", "open"}}, "", "service open is in audit by what run was given | for good: enforce"},
		{d, api.ModeRequest{Mode: policy.Enforce, Services: []string{"web"}}, "", policy.NoService("web", d.Policy.Services) + " | xdpallow mode"},
		{d, api.ModeRequest{Mode: "off"}, "", `mode "off" is not enforce or audit | xdpallow mode enforce`},
	} {
		next, _, err := c.d.Mode(c.r, boot, "boot", forGood)
		if got := refusal(err); got != c.refused {
			t.Errorf("%+v is refused %q, want %q", c.r, got, c.refused)
		}
		var audits []string
		for name, end := range next {
			audits = append(audits, fmt.Sprint(name, " ", time.Duration(end.Boottime)))
		}
		slices.Sort(audits)
		if got := strings.Join(audits, ", "); err == nil && got != c.audits {
			t.Errorf("%+v makes %v, want %s", c.r, audits, c.audits)
		}
	}

	next, _, err := d.Mode(api.ModeRequest{Mode: policy.Audit, For: "30m", Services: []string{"mail"}}, boot, "boot", forGood)
	if err != nil || len(d.Audits) != 0 {
		t.Fatalf("%v, and the state before has %v", err, d.Audits)
	}
	now, plan, err := d.Apply(Edit{Audits: next}, noon, boot)
	if err != nil || !plan.ServicesChanged {
		t.Fatalf("%v, %+v", err, plan)
	}
	mail, end := d.Policy.Services[1], boot+30*time.Minute
	if !now.Auditing(mail, end-1) || now.Auditing(mail, end) || now.Auditing(d.Policy.Services[0], boot) {
		t.Error("mail is not in audit for half an hour, or something else is")
	}
	if lines := now.Passing("acme", boot); len(lines) != 2 {
		t.Errorf("who is suspended passes: %v", lines)
	}
	if left, over := now.Audits.Over(end - 1); len(left) != 1 || len(over) != 0 {
		t.Errorf("before the end %v go on, and %v are over", left, over)
	}
	if left, over := now.Audits.Over(end); len(left) != 0 || fmt.Sprint(over) != "[mail]" {
		t.Errorf("at the end %v go on, and %v are over", left, over)
	}
}

// Promise: an audit that would open ports which were shut is ended and told in one line, however many
// these are; the audit of a service that opens nothing goes on.
func TestAuditEndsInOneLine(t *testing.T) {
	ports := func(numbers ...uint16) (ports []policy.Port) {
		for _, n := range numbers {
			ports = append(ports, policy.Port{Protocol: policy.TCP, Number: n})
		}
		return ports
	}
	service := func(name string, numbers ...uint16) policy.Service {
		return policy.Service{Name: name, Mode: policy.Enforce, Ports: ports(numbers...)}
	}
	d := State{
		Policy: policy.State{Services: []policy.Service{service("admin", 22), service("api", 443, 8443), service("web", 80, 8000, 8001, 8002)}},
		Audits: Audits{"admin": {Boottime: uint64(time.Hour)}, "api": {Boottime: uint64(time.Hour)}},
	}
	next := []policy.Service{service("admin", 22, 80, 8000, 8001, 8002), service("api", 443, 8443)}
	kept, ended := d.WithoutOpening(next, time.Minute)
	want := []string{"admin: its audit was ended, for tcp/80, tcp/8000-8002 are its ports now and would open to everybody"}
	if _, goes := kept["api"]; !slices.Equal(ended, want) || len(kept) != 1 || !goes {
		t.Errorf("kept %v, told %q, want %q", kept, ended, want)
	}
	if kept, ended := d.WithoutOpening(d.Policy.Services, time.Minute); kept != nil || ended != nil {
		t.Errorf("nothing opens: kept %v, told %q", kept, ended)
	}
}
