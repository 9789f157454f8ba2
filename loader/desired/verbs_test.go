package desired

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// network is a state in which acme's network holds what others have, one entry is declared
// in a file, one has ended, and one is for a service that is gone.
func network(t *testing.T) State {
	t.Helper()
	claim := func(prefix, owner string) policy.Claim {
		return policy.Claim{Prefix: netip.MustParsePrefix(prefix), Owner: owner, Origin: policy.OriginCLI}
	}
	ended, orphan, file, both := claim("192.0.2.9/32", "acme"), claim("198.51.100.0/24", "initech"), claim("192.0.2.64/26", "globex"), claim("192.0.2.64/26", "globex")
	ended.Until = noon.Add(-time.Hour)
	orphan.Services = []string{"gone"}
	file.Origin, file.Where = policy.FileOrigin("a.list"), "a.list:1"
	alone := file
	alone.Prefix, alone.Where = netip.MustParsePrefix("192.0.2.128/26"), "a.list:2"
	d, err := New(
		[]policy.Service{{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce}},
		map[policy.Origin][]policy.Claim{file.Origin: {file, alone}},
		[]policy.Claim{claim("203.0.113.0/24", "acme"), claim("203.0.113.7/32", "globex"), claim("203.0.113.8/32", ""), ended, orphan, both},
		noon)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// refusal is what err tells the operator; "" is nothing.
func refusal(err error) string {
	if refused, ok := errors.AsType[*policy.Refused](err); ok {
		return refused.What + " | " + refused.Hint
	}
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		return input.What + " | " + input.Hint
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// Promise: remove refuses, and says why and what to type, where a prefix would go on being
// listed; what is removed is what the request names, an orphan too.
func TestRemoveRefuses(t *testing.T) {
	d := network(t)
	for _, c := range []struct {
		r          api.RemoveRequest
		gone, want string
	}{
		{api.RemoveRequest{Prefixes: []string{"203.0.113.7"}}, "203.0.113.7/32 ", ""},
		{api.RemoveRequest{Prefixes: []string{"203.0.113.8", "203.0.113.7", "203.0.113.8"}}, "203.0.113.7/32 203.0.113.8/32 ", ""},
		{api.RemoveRequest{Owner: "acme"}, "192.0.2.9/32 203.0.113.0/24 ", ""},
		{api.RemoveRequest{Owner: "initech"}, "198.51.100.0/24 ", ""},
		{api.RemoveRequest{Expired: true}, "192.0.2.9/32 ", ""},
		{api.RemoveRequest{Expired: true, Owner: "globex"}, "", ""},
		{api.RemoveRequest{}, "", "no prefix to remove | xdpallow remove 192.0.2.0/24"},
		{api.RemoveRequest{Owner: "umbrella"}, "", "no prefix that add made belongs to umbrella | xdpallow list --owner umbrella"},
		{api.RemoveRequest{Prefixes: []string{"192.0.2.64/26"}}, "", "192.0.2.64/26 would still be allowed, by a.list:1 | take it out there, then: xdpallow reload"},
		{api.RemoveRequest{Prefixes: []string{"192.0.2.128/26"}}, "", "192.0.2.128/26 was not made by add: it stands in a.list:2 | edit it there, then: xdpallow reload"},
		{api.RemoveRequest{Prefixes: []string{"203.0.113.9"}}, "", "203.0.113.9/32 is not on the list; it is allowed by 203.0.113.0/24 | xdpallow check 203.0.113.9"},
		{api.RemoveRequest{Prefixes: []string{"203.0.113.7", "8.8.8.8"}}, "", "8.8.8.8/32 is not on the list | xdpallow check 8.8.8.8"},
	} {
		entries, err := d.Remove(c.r, noon)
		gone := ""
		for _, e := range entries {
			gone += fmt.Sprint(e.Prefix, " ")
		}
		if got := refusal(err); got != c.want || gone != c.gone {
			t.Errorf("%+v removes %q, refused %q; want %q, %q", c.r, gone, got, c.gone, c.want)
		}
	}
}

// What was removed and is still listed by a wider entry is said, with whose that is; what is
// suspended is not listed.
func TestStillListed(t *testing.T) {
	d := network(t)
	gone, err := d.Remove(api.RemoveRequest{Prefixes: []string{"203.0.113.7", "203.0.113.8"}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := d.Apply(Without(gone), noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	if still := StillListed(next.Policy, gone, noon); len(still) != 2 || still[0].By.String() != "203.0.113.0/24" || still[0].Owner != "acme" {
		t.Errorf("still listed: %+v", still)
	}
	s, err := next.Suspend(api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}, api.Caller{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	stopped, _, err := next.Apply(Edit{Overrides: OverridesEdit{Suspend: []store.Suspension{s}}}, noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	if still := StillListed(stopped.Policy, gone, noon); len(still) != 0 {
		t.Errorf("still listed by who is suspended: %+v", still)
	}
}

// Promise: suspend refuses who is mistyped and what is too wide; whoever is suspended again
// keeps his time, and his reason unless another is given. Resume names who is meant.
func TestSuspendRefuses(t *testing.T) {
	d := network(t)
	prefix := func(text string) policy.Subject { return policy.Subject{Prefix: netip.MustParsePrefix(text)} }
	for _, c := range []struct {
		r    api.SuspendRequest
		want string
	}{
		{api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}, ""},
		{api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}, Nested: true}, ""},
		{api.SuspendRequest{Subject: prefix("203.0.113.7/32")}, ""},
		{api.SuspendRequest{Subject: prefix("0.0.0.0/0"), AllowAny: true}, ""},
		{api.SuspendRequest{Subject: policy.Subject{Owner: "umbrella"}}, "no prefix belongs to umbrella | xdpallow owners"},
		{api.SuspendRequest{Subject: prefix("8.8.8.8/32")}, "nothing that is listed touches 8.8.8.8/32 | xdpallow check 8.8.8.8"},
		{api.SuspendRequest{Subject: prefix("203.0.113.7/32"), Nested: true}, "--nested is about what others have in an owner's network; a prefix is suspended with all that lies in it | xdpallow suspend 203.0.113.7/32"},
		{api.SuspendRequest{Subject: prefix("128.0.0.0/1")}, "/1"},
	} {
		_, err := d.Suspend(c.r, api.Caller{}, noon)
		if got := refusal(err); got != c.want && (c.want != "/1" || !strings.Contains(got, "/1")) {
			t.Errorf("%+v is refused %q, want %q", c.r, got, c.want)
		}
	}

	first, err := d.Suspend(api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}, api.Caller{UID: 1, Reason: "OPS-1"}, noon)
	if err != nil {
		t.Fatal(err)
	}
	stopped, _, err := d.Apply(Edit{Overrides: OverridesEdit{Suspend: []store.Suspension{first}}}, noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	for reason, want := range map[string]string{"": "OPS-1 by 1", "OPS-2": "OPS-2 by 2"} {
		again, err := stopped.Suspend(api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}, api.Caller{UID: 2, Reason: reason}, noon.Add(time.Hour))
		if got := fmt.Sprintf("%s by %d", again.Reason, again.UID); err != nil || got != want || !again.Time.Equal(noon) {
			t.Errorf("suspended again with reason %q: %s since %v (%v), want %s", reason, got, again.Time, err, want)
		}
	}
	for want, subject := range map[string]policy.Subject{
		"": {Owner: "acme"},
		"globex is not suspended | xdpallow status":                    {Owner: "globex"},
		"203.0.113.0/24 is suspended by acme | xdpallow resume acme":   prefix("203.0.113.0/24"),
		"203.0.113.200/32 is suspended by acme | xdpallow resume acme": prefix("203.0.113.200/32"),
		"192.0.2.64/26 is not suspended | xdpallow status":             prefix("192.0.2.64/26"),
	} {
		if _, err := stopped.Resume(api.SuspendRequest{Subject: subject}); refusal(err) != want {
			t.Errorf("resume %s is refused %q, want %q", subject, refusal(err), want)
		}
	}
}

// Promise: who goes on getting in from the network of a suspended owner is named.
func TestOpenWithin(t *testing.T) {
	d := network(t)
	s, err := d.Suspend(api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}, api.Caller{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := d.Apply(Edit{Overrides: OverridesEdit{Suspend: []store.Suspension{s}}}, noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	if open := OpenWithin(next.Policy, "acme"); len(open) != 1 || open[0].Prefix.String() != "203.0.113.7/32" || open[0].Owner != "globex" {
		t.Errorf("open within: %+v", open)
	}
}

// Promise: a limit is of an owner who is known and of a rate that a host can keep to;
// without a burst it is what a second has.
func TestLimit(t *testing.T) {
	d := network(t)
	for _, c := range []struct {
		owner string
		limit api.Limit
		want  string
	}{
		{"acme", api.Limit{PerSecond: 2.5}, "limit acme 150/m --burst 3"},
		{"acme", api.Limit{PerSecond: 2.5, Burst: 7}, "limit acme 150/m --burst 7"},
		{"acme", api.Limit{}, "acme has no limit | xdpallow owners"},
		{"umbrella", api.Limit{PerSecond: 1}, "no prefix belongs to umbrella | xdpallow owners"},
		{"acme", api.Limit{PerSecond: 2_000_000}, "2000000/s is over 1000000/s | "},
		{"acme", api.Limit{PerSecond: 0.0001, Burst: 1_000_000}, "a burst of 1000000 is more than a year of this rate | "},
	} {
		edit, err := d.Limit(api.LimitRequest{Owner: c.owner, Limit: c.limit})
		got := refusal(err)
		if err == nil {
			got = strings.Join(edit.Lines(d.Overrides), ", ")
		}
		if got != c.want {
			t.Errorf("limit %s %+v: %q, want %q", c.owner, c.limit, got, c.want)
		}
	}
}

// Promise: replace leaves the CLI with the claims of the list, keeps what is declared and
// what is for a service that is gone, and refuses a list without a prefix.
func TestReplace(t *testing.T) {
	d := network(t)
	orphan, _ := d.Claimed(netip.MustParsePrefix("198.51.100.0/24"))
	other := orphan
	other.Services, other.Where = []string{"nowhere"}, "list:1"
	lasts := policy.Claim{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Owner: "acme", Origin: policy.OriginCLI, Where: "list:2"}
	if _, err := d.Replace(api.ReplaceRequest{Name: "list"}, nil); refusal(err) != "list: no prefix in it, and 6 prefixes would be removed | --allow-empty" {
		t.Errorf("an empty list is refused %q", refusal(err))
	}
	if _, err := d.Replace(api.ReplaceRequest{Name: "list"}, []policy.Claim{other}); !strings.Contains(refusal(err), "no service nowhere") {
		t.Errorf("a claim for no service is refused %q", refusal(err))
	}
	edit, err := d.Replace(api.ReplaceRequest{Name: "list"}, []policy.Claim{orphan, lasts})
	if err != nil {
		t.Fatal(err)
	}
	if len(edit.Put) != 0 || len(edit.Remove) != 4 {
		t.Errorf("of what stays %v is put, of 4 others %v removed", edit.Put, edit.Remove)
	}
	next, _, err := d.Apply(Edit{Claims: edit}, noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for claim := range next.Made() {
		made = append(made, claim.Prefix.String())
	}
	if got := strings.Join(made, " "); got != "203.0.113.0/24 198.51.100.0/24" || next.Policy.Entries.Len() != 3 {
		t.Errorf("the CLI is left with %s, of %d entries", got, next.Policy.Entries.Len())
	}
}
