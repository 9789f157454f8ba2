// This file holds a start beside a gate that is up to what the gate enforces: where both
// files of the state are older than that, or gone, nobody is told so by them.
package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// pinned expects the gate that a daemon left behind to give these verdicts.
func (f *faulty) pinned(want map[string]string) {
	f.Helper()
	reader := f.reader()
	defer reader.Close()
	for address, verdict := range want {
		answer, err := reader.Ask("eth0", mapstest.Opening(netip.MustParseAddr(address), 8443).Bytes())
		if got := map[bool]string{true: "pass", false: "drop"}[answer.Verdict == maps.Pass]; err != nil || got != verdict {
			f.Errorf("%s: the gate that is pinned says %s (%v), want %s", address, got, err, verdict)
		}
	}
}

// Promise: both files of an earlier day, put back beside a gate that is up, let nobody in
// whom the gate drops: the start is refused and names both, the gate stays as it is. With
// the flag that says so it is meant, and the problem names the files.
func TestOlderFilesBesideAGate(t *testing.T) {
	f := newFaulty(t)
	f.put(f.older)
	err := f.up()
	if err == nil {
		t.Fatal("removed and suspended sources are let in again, and nobody is asked")
	}
	refused, _ := errors.AsType[*policy.Refused](err)
	if refused == nil || refused.Hint != "--allow-open" || !strings.Contains(err.Error(), f.options.State) || !strings.Contains(err.Error(), "192.0.2.9/32") {
		t.Errorf("the refusal is %v, %+v", err, refused)
	}
	f.pinned(verdicts)
	f.options.Force.AllowOpen = true
	f.open()
	f.expect("older files that are meant", map[string]string{"192.0.2.9": "pass", "198.18.0.1": "pass", "192.0.2.2": "drop", "203.0.113.7": "pass"})
	f.saysOlder("older files that are meant", "192.0.2.2/32")
	f.close()
	f.options.Force.AllowOpen = false
	f.open()
	if problems := f.stateDamaged(); len(problems) > 0 {
		t.Errorf("what was taken over is still a problem at the next start: %+v", problems)
	}
	f.close()
}

// Promise: older files let nobody in by what they lack, either: a stop inside a listed prefix,
// an end, a service.
func TestOlderFilesThatLackALimit(t *testing.T) {
	f := newFaulty(t)
	f.open()
	f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"192.0.2.51", "192.0.2.52"}}))
	f.close()
	older := f.files()
	f.open()
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	f.must(f.engine.Suspend(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("203.0.113.66/32")}}))
	f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"192.0.2.51"}, Until: until}))
	f.close()
	f.put(older)
	err := f.up()
	if err == nil {
		f.close()
		t.Fatal("a source that was suspended inside a listed prefix is let in again, and nobody is asked")
	}
	for _, prefix := range []string{"203.0.113.66/32", "192.0.2.51/32"} {
		if !strings.Contains(err.Error(), prefix) {
			t.Errorf("the refusal does not name %s: %v", prefix, err)
		}
	}
	f.pinned(map[string]string{"203.0.113.66": "drop", "203.0.113.7": "pass", "192.0.2.51": "pass"})
	f.options.Force.AllowOpen = true
	f.open()
	f.expect("older files that are meant", map[string]string{"203.0.113.66": "pass", "203.0.113.7": "pass"})
	f.close()
}

// Promise: files that are gone, or older, do not cut most of the customers off beside a
// gate that is up: the start is refused, and the gate stays as it is.
func TestFilesThatLackMost(t *testing.T) {
	f := newFaulty(t)
	older := f.files()
	f.open()
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("100.64.0.%d", i))
	}
	for _, prefixes := range [][]string{many[:20], many[20:]} {
		f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: prefixes}))
	}
	f.close()
	newer := f.files()
	all := map[string]string{"100.64.0.7": "pass", "192.0.2.1": "pass", "203.0.113.7": "pass", "198.18.0.1": "drop"}
	for what, files := range map[string]map[string][]byte{"older": older, "gone": nil} {
		f.put(files)
		err := f.up()
		refused, _ := errors.AsType[*policy.Refused](err)
		// Without any file there is no suspension either: that is asked about first.
		hint := map[string]string{"older": "--force-shrink", "gone": "--allow-open"}[what]
		if refused == nil || refused.Hint != hint {
			t.Errorf("files that are %s: %v, %+v", what, err, refused)
		}
		if err == nil {
			f.close()
			t.Fatal("the gate of this test has lost its list")
		}
		f.pinned(all)
	}
	f.put(newer)
	f.open()
	f.expect("the right files again", all)
	if problems := f.stateDamaged(); len(problems) > 0 {
		t.Errorf("files that are right are a problem: %+v", problems)
	}
	f.close()
}

// Promise: a list that lacks fewer is taken over, and told.
func TestOlderFilesThatLackFew(t *testing.T) {
	f := newFaulty(t)
	older := f.files()
	f.open()
	for _, prefix := range []string{"192.0.2.51", "192.0.2.52"} {
		f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{prefix}}))
	}
	f.close()
	f.put(older)
	f.open()
	f.expect("older files", verdicts)
	f.saysOlder("older files", "192.0.2.52/32")
	f.close()
}

// saysOlder expects the problem of older files, which names prefix.
func (f *faulty) saysOlder(what, prefix string) {
	f.Helper()
	said := slices.ContainsFunc(f.stateDamaged(), func(p api.Problem) bool {
		return strings.Contains(p.Text, "older than") && strings.Contains(p.Text, prefix) && p.Subject == f.options.State && p.Hint != ""
	})
	if !said {
		f.Errorf("%s: nobody is told: %+v", what, f.stateDamaged())
	}
}

func (f *faulty) stateDamaged() (found []api.Problem) {
	f.Helper()
	for _, p := range labtest.Must(f.engine.Status(context.Background()))(f.T).Problems {
		if p.Code == "state_damaged" {
			found = append(found, p)
		}
	}
	return found
}
