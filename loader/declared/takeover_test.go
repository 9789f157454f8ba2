package declared

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	one, two = policy.FileOrigin("/lists/one.list"), policy.FileOrigin("/two.list")
	conf     = policy.OriginConfig
	errBad   = errors.New("bad line")
)

// says is what origins say, each one prefix.
func says(lines ...string) Enforced {
	all := Enforced{}
	for _, line := range lines {
		origin, prefix, _ := strings.Cut(line, " ")
		all[policy.Origin(origin)] = []policy.Claim{{Prefix: netip.MustParsePrefix(prefix), Origin: policy.Origin(origin)}}
	}
	return all
}

// lines is the reverse of says, sorted.
func lines(all Enforced) (lines []string) {
	for _, origin := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, string(origin)+" "+all[origin][0].Prefix.String())
	}
	return lines
}

func failed(failing Failing) []policy.Origin { return slices.Sorted(maps.Keys(failing)) }

// web are services with one of these TCP ports.
func web(port uint16) []policy.Service {
	return []policy.Service{{Name: "web", Ports: []policy.Port{{Protocol: policy.TCP, Number: port}}, Mode: policy.Enforce, Scope: policy.ScopeSYN}}
}

// Promise: a file that was rolled back is not taken over by a restart, and is no problem
// though it is bad; flags are, since somebody typed them for this start.
func TestWithhold(t *testing.T) {
	r := Reading{Claims: says("flag 10.0.0.0/24", string(one)+" 10.0.1.0/24", string(two)+" 10.0.2.0/24"), Failing: Failing{conf: errBad}, Services: web(80)}
	enforced := says("flag 10.9.0.0/24", string(two)+" 10.9.2.0/24")
	r.Withhold(func(origin policy.Origin) bool { return origin == one || origin == two || origin == conf }, enforced)
	if got, want := lines(r.Claims), []string{string(two) + " 10.9.2.0/24", "flag 10.0.0.0/24"}; !slices.Equal(got, want) {
		t.Errorf("claims %q, want %q", got, want)
	}
	if len(r.Failing) > 0 || r.Services != nil {
		t.Errorf("failing %v, services %v, want none", r.Failing, r.Services)
	}
	r = Reading{Claims: Enforced{}, Services: web(80), typed: true}
	if r.Withhold(func(policy.Origin) bool { return true }, nil); r.Services == nil {
		t.Error("services that were typed are withheld")
	}
}

// Promise: a file that cannot be read keeps its customers, and so does one that lies in a
// directory or is named by a config file that cannot be read.
func TestKeepUnread(t *testing.T) {
	for _, c := range []struct {
		failing Failing
		want    []string
	}{
		{Failing{}, nil},
		{Failing{one: errBad}, []string{string(one) + " 10.0.1.0/24"}},
		{Failing{policy.FileOrigin("/lists"): errBad}, []string{string(one) + " 10.0.1.0/24"}},
		{Failing{policy.FileOrigin("/list"): errBad}, nil},
		{Failing{conf: errBad}, []string{"config 10.0.3.0/24", string(one) + " 10.0.1.0/24", string(two) + " 10.0.2.0/24"}},
	} {
		r := Reading{Claims: Enforced{}, Failing: c.failing}
		r.KeepUnread(says("flag 10.0.0.0/24", "config 10.0.3.0/24", string(one)+" 10.0.1.0/24", string(two)+" 10.0.2.0/24"))
		if got := lines(r.Claims); !slices.Equal(got, c.want) {
			t.Errorf("%v failed: kept %q, want %q", failed(c.failing), got, c.want)
		}
	}
}

// Promise: where files are refused together, a start goes on with what they said before: those
// that changed, that are new, and that were deleted though their directory is still named.
func TestTakeBack(t *testing.T) {
	r := Reading{
		Claims:  says("flag 10.8.0.0/24", string(one)+" 10.8.1.0/24", "file:/new.list 10.8.4.0/24", "file:/same.list 10.0.5.0/24"),
		Failing: Failing{}, Services: web(8080), config: "/c.yaml", files: []string{"/two.list"},
	}
	enforced := says("flag 10.0.0.0/24", string(one)+" 10.0.1.0/24", string(two)+" 10.0.2.0/24", "file:/unnamed.list 10.0.6.0/24", "file:/same.list 10.0.5.0/24", "config 10.0.3.0/24")
	if !r.TakeBack(enforced, web(80), errBad) || r.Services != nil {
		t.Errorf("other services are taken over: %v", r.Services)
	}
	want := []string{"config 10.0.3.0/24", string(one) + " 10.0.1.0/24", "file:/same.list 10.0.5.0/24", string(two) + " 10.0.2.0/24", "flag 10.8.0.0/24"}
	if got := lines(r.Claims); !slices.Equal(got, want) {
		t.Errorf("claims %q, want %q", got, want)
	}
	if got, want := failed(r.Failing), []policy.Origin{conf, one, "file:/new.list", two}; !slices.Equal(got, want) {
		t.Errorf("failing %q, want %q", got, want)
	}
	r = Reading{Services: web(80), Failing: Failing{}}
	if r.TakeBack(nil, web(80), errBad) || r.Services == nil {
		t.Error("the same services are taken back")
	}
}

// Promise: a reload that takes nothing over names each file that is bad or gone, and forgets no
// failure that it has not looked at.
func TestStillFailing(t *testing.T) {
	before := Failing{one: errBad, conf: errBad, two: errBad}
	r := Reading{Failing: Failing{"file:/bad.list": errBad}, found: map[policy.Origin]bool{one: true}}
	got := r.StillFailing(before, says(string(one)+" 10.0.1.0/24", string(two)+" 10.0.2.0/24", "flag 10.0.0.0/24"))
	if want := []policy.Origin{conf, "file:/bad.list", one}; !slices.Equal(failed(got), want) {
		t.Errorf("with a config file that failed before: %q, want %q", failed(got), want)
	}
	delete(before, conf)
	got = r.StillFailing(before, says(string(one)+" 10.0.1.0/24", string(two)+" 10.0.2.0/24", "flag 10.0.0.0/24"))
	if want := []policy.Origin{"file:/bad.list", one, two}; !slices.Equal(failed(got), want) || !strings.Contains(got[two].Error(), "is gone") {
		t.Errorf("%q, want %q; %v", failed(got), want, got[two])
	}
}

// Promise: a start opens nothing that is shut because a config file says so, and says what.
func TestKeepShut(t *testing.T) {
	audit := web(80)
	audit[0].Mode = policy.Audit
	for _, c := range []struct {
		name     string
		was, now []policy.Service
		kept     []policy.Service
		shut     bool
	}{
		{"the same", web(80), web(80), web(80), false},
		{"audit of what was enforced", web(80), audit, web(80), true},
	} {
		r := Reading{Services: c.now}
		kept := r.KeepShut(c.was)
		if !slices.EqualFunc(r.Services, c.kept, policy.Service.Equal) || (kept.String() != "") != c.shut {
			t.Errorf("%s: services %v, kept shut %q", c.name, r.Services, kept)
		}
	}
	if text := (Kept{Backstop: true}).String(); text != BackstopGoes {
		t.Errorf("a backstop that is kept reads %q", text)
	}
}

// Promise: a start that is refused while a file cannot be read blames the file, and names no
// flag that would shut out those who are in it.
func TestBlame(t *testing.T) {
	refused := &policy.Refused{What: "half would go", Hint: "--force-shrink"}
	if err := (Failing{}).Blame(refused); err != error(refused) {
		t.Errorf("with all files read: %v", err)
	}
	err := (Failing{one: errBad}).Blame(refused)
	if told, found := errors.AsType[*policy.Refused](err); !found || told.Hint != "" || !strings.HasPrefix(err.Error(), errBad.Error()) {
		t.Errorf("with a file that was not read: %v", err)
	}
	if err := (Failing{one: errBad}).Blame(errBad); err != errBad {
		t.Errorf("another error becomes %v", err)
	}
}
