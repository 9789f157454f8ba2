// This file holds lists that are kept elsewhere to: they can change the list and nothing else,
// and what was taken over last is enforced for ever. The readings are made here; the kernel is
// the real one.
package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

const (
	partner = policy.Origin("url:partner")
	branch  = policy.Origin("dns:branch")
)

// follower is a gate whose config file names origins that nobody answers for.
type follower struct{ *faulty }

func newFollower(t *testing.T) follower {
	t.Helper()
	f := follower{&faulty{gate: newGate(t, 1)}}
	f.options.Services, f.options.Config = nil, filepath.Join(t.TempDir(), "config.yaml")
	f.config(partner, branch)
	f.put(nil)
	return f
}

// config writes a config file that names these origins.
func (f follower) config(origins ...policy.Origin) {
	f.Helper()
	text := "services: {api: {ports: [8443]}}\norigins:\n"
	if len(origins) == 0 {
		text = strings.TrimSuffix(text, "origins:\n")
	}
	for _, origin := range origins {
		kind, name, _ := strings.Cut(string(origin), ":")
		if name, list, several := strings.Cut(name, "/"); several {
			text = strings.Replace(text, name+": {", name+": {lists: [main, "+list+"], ", 1) // of the origin before
			continue
		}
		text += "  " + name + ": {" + map[string]string{
			"url": `url: "http://127.0.0.1:1/list", owner: acme`, "dns": "dns: [vpn.branch.example], owner: acme", "etcd": `etcd: ["http://127.0.0.1:1"]`,
		}[kind] + "}\n"
	}
	if err := os.WriteFile(f.options.Config, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
}

// reading is all that an origin says.
func reading(origin policy.Origin, why string, prefixes ...string) source.Reading {
	r := source.Reading{Origin: origin, Mark: why, Sum: why, Why: why}
	for _, text := range prefixes {
		r.Claims = append(r.Claims, policy.Claim{Prefix: netip.MustParsePrefix(text), Owner: "acme", Origin: origin})
	}
	return r
}

func (f follower) take(r source.Reading) {
	f.Helper()
	if err := f.engine.Take(r); err != nil {
		f.Fatal(err)
	}
}

// refuses expects that a reading is not taken over, for a reason, with a hint.
func (f follower) refuses(r source.Reading, what, hint string) {
	f.Helper()
	err := f.engine.Take(r)
	refused, ok := errors.AsType[*policy.Refused](err)
	if !ok || !strings.Contains(refused.What, what) || refused.Hint != hint {
		f.Errorf("%s: %v, %+v", r.Why, err, refused)
	}
	f.told("origin_failing", r.Origin, what)
}

// status is the status of an origin, and of all.
func (f follower) status(origin policy.Origin) (api.OriginStatus, api.Status) {
	f.Helper()
	var status api.Status
	if err := f.lab.Host.Do(func() (err error) {
		status, err = f.engine.Status(context.Background())
		return err
	}); err != nil {
		f.Fatal(err)
	}
	for _, one := range status.Origins {
		if one.Name == origin {
			return one, status
		}
	}
	return api.OriginStatus{}, status
}

// told expects a problem that leaves the gate shut.
func (f follower) told(code string, origin policy.Origin, text string) {
	f.Helper()
	_, status := f.status(origin)
	if !status.Enforcing {
		f.Errorf("not enforcing: %+v", status.Problems)
	}
	for _, p := range status.Problems {
		if p.Code == code && p.Subject == string(origin) && strings.Contains(p.Text, text) && p.Hint != "" {
			return
		}
	}
	f.Errorf("no %s of %s with %q: %+v", code, origin, text, status.Problems)
}

// quiet expects that there is no problem of an origin.
func (f follower) quiet(when string) {
	f.Helper()
	_, status := f.status(partner)
	for _, p := range status.Problems {
		if strings.HasPrefix(p.Code, "origin_") && p.Subject == string(partner) {
			f.Errorf("%s: %+v", when, p)
		}
	}
}

func (f follower) reload(r api.ReloadRequest) api.Plan {
	f.Helper()
	var plan api.Plan
	if err := f.lab.Host.Do(func() (err error) {
		plan, err = f.engine.Reload(context.Background(), api.Caller{}, r)
		return err
	}); err != nil {
		f.Fatal(err)
	}
	return plan
}

// Promise: a host's first boot, with nothing but lists that are kept elsewhere and not there
// yet, is shut and says so. The first reading lets in whom it lists.
func TestFirstBootWithoutAList(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.expect("nothing yet", map[string]string{"203.0.113.7": "drop"})
	f.told("origin_pending", partner, "everybody is dropped")
	if err := f.engine.Take(source.Reading{Origin: partner, Err: errors.New("no route to host")}); err != nil {
		t.Error(err)
	}
	f.told("origin_failing", partner, "no route to host")
	if one, _ := f.status(partner); one.State != "pending" || one.LastSuccess != nil || one.Error == "" {
		t.Errorf("before the first reading: %+v", one)
	}
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.expect("the first reading", map[string]string{"203.0.113.7": "pass", "198.51.100.7": "drop"})
	f.quiet("after the first reading")
	if one, _ := f.status(partner); one.State != "current" || one.Mark != "first" || one.LastSuccess == nil || one.Entries != 1 {
		t.Errorf("after the first reading: %+v", one)
	}
	f.close()
}

// Promise: without the network the last good list is enforced, after a restart and after a
// reboot, when files are all that is left; and nobody else is let in.
func TestFollowedWithoutTheNetwork(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24", "198.51.100.0/24"))
	f.take(reading(partner, "second", "203.0.113.0/24", "192.0.2.0/24"))
	want := map[string]string{"203.0.113.7": "pass", "192.0.2.7": "pass", "198.51.100.7": "drop"}
	f.expect("taken over", want)
	f.close()
	f.open()
	f.expect("after a restart", want)
	if one, _ := f.status(partner); one.Mark != "second" || one.Entries != 2 || one.State != "current" {
		t.Errorf("after a restart: %+v", one)
	}
	f.close()
	files := f.files()
	for _, name := range []string{"", "state.db", "effective.list"} {
		left := map[string][]byte{}
		for file, content := range files {
			if file != name {
				left[file] = content
			}
		}
		f.reboot(left)
		f.open()
		f.expect("after a reboot without "+name, want)
		f.close()
	}
}

// Promise: a page that is suddenly short, empty or for everybody is refused as a whole; who was
// let in stays. reload hands a flag on to the next reading, once.
func TestReadingsThatAreRefused(t *testing.T) {
	f := newFollower(t)
	f.open()
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("203.0.113.%d/32", i))
	}
	f.take(reading(partner, "first", many...))
	f.take(reading(branch, "first", "198.51.100.7/32"))
	f.refuses(reading(partner, "shrunk", many[:5]...), "7 prefixes of 12 would be removed", "xdpallow reload --force-shrink")
	f.refuses(reading(partner, "empty"), "12 prefixes", "xdpallow reload --force-shrink")
	f.refuses(reading(partner, "everybody", append(many, "0.0.0.0/0")...), "wider than /8", "xdpallow reload --allow-any")
	f.expect("after what was refused", map[string]string{"203.0.113.11": "pass", "192.0.2.1": "drop"})
	if one, _ := f.status(partner); one.State != "failing" || one.Mark != "first" || one.Entries != 12 {
		t.Errorf("after what was refused: %+v", one)
	}

	f.reload(api.ReloadRequest{Force: policy.Force{ForceShrink: true}})
	f.take(reading(partner, "shrunk", many[:5]...))
	f.expect("with the flag", map[string]string{"203.0.113.11": "drop", "203.0.113.4": "pass"})
	f.quiet("with the flag")
	f.take(reading(partner, "grown", many...))
	f.refuses(reading(partner, "shrunk again", many[:5]...), "would be removed", "xdpallow reload --force-shrink")

	f.reload(api.ReloadRequest{Force: policy.Force{ForceShrink: true}})
	if err := f.engine.Take(source.Reading{Origin: partner, Err: errors.New("no route to host")}); err != nil {
		t.Error(err)
	}
	f.refuses(reading(partner, "shrunk later", many[:5]...), "would be removed", "xdpallow reload --force-shrink")

	f.take(reading(partner, "grown again", many...)) // what it was
	f.quiet("the list as it was")
	few := newFollower(t)
	few.open()
	few.take(reading(partner, "first", "203.0.113.0/24", "192.0.2.0/24"))
	few.take(reading(branch, "first", "198.51.100.7/32"))
	few.refuses(reading(partner, "empty"), "nothing is listed there", "xdpallow reload --allow-empty")
	few.expect("an empty page", map[string]string{"203.0.113.7": "pass"})
	few.close()
	f.close()
}

// Promise: a page on which most lines suddenly let nobody in is refused as one that has lost them is:
// whether they name a service that is not there or have ended. A line that was never enforced is told.
func TestLinesThatLetNobodyIn(t *testing.T) {
	f := newFollower(t)
	f.open()
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("203.0.113.%d/32", i))
	}
	said := func(why string, n int, change func(*policy.Claim)) source.Reading {
		r := reading(partner, why, many...)
		for i := range n {
			change(&r.Claims[i])
		}
		return r
	}
	elsewhere := func(c *policy.Claim) { c.Services = []string{"apl"} }
	over := func(c *policy.Claim) { c.Until = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }
	f.take(reading(branch, "first", "198.51.100.7/32"))
	f.take(said("first", 0, nil))
	f.refuses(said("a service that is not there", 7, elsewhere), "7 prefixes of 12 would", "xdpallow reload --force-shrink")
	f.refuses(said("an end in the past", 12, over), "12 prefixes", "xdpallow reload --force-shrink")
	f.expect("after what was refused", map[string]string{"203.0.113.0": "pass", "203.0.113.11": "pass", "192.0.2.1": "drop"})

	f.take(said("a few", 4, elsewhere))
	f.expect("a few", map[string]string{"203.0.113.0": "drop", "203.0.113.11": "pass"})
	f.told("claims_aside", partner, "4 entries are for services that are not there")
	f.reload(api.ReloadRequest{Force: policy.Force{ForceShrink: true}})
	f.take(said("meant", 12, elsewhere))
	f.expect("meant", map[string]string{"203.0.113.11": "drop", "198.51.100.7": "pass"})
	f.take(said("mended", 0, nil))
	f.expect("mended", map[string]string{"203.0.113.0": "pass"})
	f.close()
}

// Promise: a change names the list, who made it and what it was in history and status; what changes nothing writes
// nothing; whom it leaves without an entry is not let in.
func TestReadingIsOneChange(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "serial 57: add", "203.0.113.0/24", "192.0.2.0/24"))
	f.take(reading(partner, "serial 58: remove (alice)", "192.0.2.0/24"))
	_, before := f.status(partner)
	f.take(reading(partner, "the same", "192.0.2.0/24"))
	f.take(source.Reading{Origin: partner, Edit: &policy.Edit{}, Mark: "the same"})
	if _, after := f.status(partner); after.Generation != before.Generation {
		t.Errorf("what changes nothing made generation %d of %d", after.Generation, before.Generation)
	}
	history := labtest.Must(f.engine.History(context.Background(), 20))(t)
	var commands []string
	for _, record := range history.Changes {
		commands = append(commands, record.Command)
	}
	if want := []string{"url:partner: serial 57: add", "url:partner: serial 58: remove (alice)"}; !slices.Equal(commands[len(commands)-2:], want) {
		t.Errorf("history has %q, want %q at its end", commands, want)
	}
	if _, status := f.status(partner); status.LastChange == nil || status.LastChange.Command != commands[len(commands)-1] {
		t.Errorf("the last change is %+v", status.LastChange)
	}
	f.take(source.Reading{Origin: partner, Why: "an edit", Edit: &policy.Edit{
		Remove: []policy.ClaimKey{{Origin: partner, Prefix: netip.MustParsePrefix("192.0.2.0/24")}},
		Put:    []policy.Claim{{Origin: partner, Prefix: netip.MustParsePrefix("198.51.100.0/24"), Owner: "globex"}},
	}})
	f.expect("an edit", map[string]string{"192.0.2.7": "drop", "198.51.100.7": "pass"})

	err := f.lab.Host.Do(func() error {
		_, err := f.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{"198.51.100.0/24"}})
		return err
	})
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || !strings.HasSuffix(refused.What, "it stands in url:partner") {
		t.Errorf("remove: %v", err)
	}
	f.close()
}

// Promise: an origin that the config file names no longer is forgotten by reload, which says so
// before, and by a start; and not by a reload that may be rolled back, nor unseen.
func TestOriginThatIsNoLongerNamed(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.take(reading(branch, "first", "198.51.100.7/32"))
	f.config(branch)
	plan := f.reload(api.ReloadRequest{DryRun: true})
	if len(plan.Removed) != 1 || len(plan.Warnings) == 0 || !strings.Contains(plan.Warnings[0], "url:partner is no longer named") {
		t.Errorf("a dry run: %+v", plan)
	}
	f.expect("a dry run", map[string]string{"203.0.113.7": "pass"})
	f.reload(api.ReloadRequest{Confirm: "1h"})
	f.expect("a reload that waits", map[string]string{"203.0.113.7": "pass"})
	f.reload(api.ReloadRequest{})
	f.expect("a reload", map[string]string{"203.0.113.7": "drop", "198.51.100.7": "pass"})
	if one, _ := f.status(partner); one.Name != "" {
		t.Errorf("still told of: %+v", one)
	}
	if err := f.engine.Take(reading(partner, "late", "203.0.113.0/24")); err == nil {
		t.Error("a reading of an origin that is forgotten was taken over")
	}
	f.config(partner, branch)
	f.reload(api.ReloadRequest{})
	f.take(reading(partner, "again", "203.0.113.0/24"))
	f.config(branch)
	f.close()
	f.open()
	f.expect("a start", map[string]string{"203.0.113.7": "drop", "198.51.100.7": "pass"})
	f.close()
	f.open()
	f.expect("the start after it", map[string]string{"203.0.113.7": "drop", "198.51.100.7": "pass"})

	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("203.0.113.%d/32", i))
	}
	f.take(reading(branch, "grown", many...))
	f.config()
	err := f.lab.Host.Do(func() error {
		_, err := f.engine.Reload(context.Background(), api.Caller{}, api.ReloadRequest{})
		return err
	})
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || !strings.HasPrefix(refused.Hint, "--") {
		t.Errorf("a reload that forgets everything: %v", err)
	}
	f.close()
	f.open() // a start is not refused for it
	f.expect("a start that would forget everything", map[string]string{"203.0.113.3": "pass"})
	f.told("origin_failing", branch, "no longer")
	f.close()
}

// Promise: of a followed list and add on one prefix the owner that add named stands, whoever came
// first, also after a restart; what is aside is told.
func TestFollowedBesideAdd(t *testing.T) {
	f := newFollower(t)
	f.open()
	for _, c := range []struct {
		prefix string
		before bool // the add comes before the reading
	}{{"203.0.113.0/24", true}, {"198.51.100.0/24", false}} {
		add := func() error {
			return f.lab.Host.Do(func() error {
				_, err := f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{c.prefix}, Owner: "globex"})
				return err
			})
		}
		if c.before {
			f.must(nil, add())
		}
		r := reading(partner, c.prefix, c.prefix)
		f.take(source.Reading{Origin: partner, Edit: &policy.Edit{Put: r.Claims}, Why: c.prefix})
		if err := add(); !c.before && (err == nil || !strings.Contains(err.Error(), "belongs to acme (url:partner)")) {
			t.Errorf("add against a followed owner: %v", err)
		}
	}
	owners := func(when string) {
		t.Helper()
		got := map[string]string{}
		listing := labtest.Must(f.list(context.Background(), api.ListRequest{}))(t)
		for _, e := range listing.Entries {
			got[e.Prefix.String()] = e.Owner + " " + fmt.Sprint(e.Origins)
		}
		if got["203.0.113.0/24"] != "globex [cli]" || got["198.51.100.0/24"] != "acme [url:partner]" {
			t.Errorf("%s: %v", when, got)
		}
		if one, _ := f.status(partner); one.Aside != 1 || one.Entries != 2 {
			t.Errorf("%s: %+v", when, one)
		}
		f.told("claims_aside", partner, "1 entry is not enforced")
	}
	owners("at first")
	f.close()
	f.open()
	owners("after a restart")
	f.close()
}
