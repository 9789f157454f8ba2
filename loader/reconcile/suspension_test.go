// A suspension is of an owner's network, whatever becomes of the labels in it: the kernel
// against networkModel.
package reconcile_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// network is a gate, its list file and the model of both.
type network struct {
	*gate
	path     string
	disk     labels
	now      networkModel
	last     *networkModel // what a rollback leads to
	waits    bool          // for a confirmation
	verdicts map[string]int
	made     map[string]int
}

var spare = netip.MustParsePrefix("198.51.100.200/32") // initech's, outside of it all

func newNetwork(t *testing.T) *network {
	n := &network{gate: newGate(t, 1), path: filepath.Join(t.TempDir(), "a.list"), verdicts: map[string]int{}, made: map[string]int{}}
	n.options.Files = []string{n.path}
	n.inMemory()
	n.write(labels{})
	n.start()
	if err := n.owned(spare.String() + " owner=initech"); err != nil {
		t.Fatal(err)
	}
	limit := api.LimitRequest{Owner: "initech", Limit: api.Limit{PerSecond: 1. / 86400, Burst: 1}}
	labtest.Must(n.engine.Limit(background, api.Caller{}, limit))(t)
	n.opens(spare.Addr().String())
	n.counts("initech", 1, 0)
	return n
}

// inMemory moves the state there: thousands of changes follow, and none is about a disk.
func (n *network) inMemory() {
	n.Helper()
	dir := n.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "")
	if err == nil {
		n.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		err = os.CopyFS(dir, os.DirFS(n.options.State))
	}
	if err != nil {
		n.Fatal(err)
	}
	n.options.State = dir
	n.Cleanup(n.stop)
}

// write writes the list file.
func (n *network) write(to labels) {
	n.Helper()
	if err := os.WriteFile(n.path, []byte(linesOf(to)), 0o600); err != nil {
		n.Fatal(err)
	}
	n.disk = to
}

func linesOf(all labels) (text string) {
	for _, p := range slices.SortedFunc(maps.Keys(all), policy.ComparePrefix) {
		text += p.String()
		if all[p] != "" {
			text += " owner=" + all[p]
		}
		text += "\n"
	}
	return text
}

// begin takes back all that was said.
func (n *network) begin() {
	n.Helper()
	if n.waits {
		n.waits = false
		labtest.Must(n.engine.Confirm(background, api.Caller{}, api.ConfirmRequest{}))(n.T)
	}
	base := labels{netip.MustParsePrefix("10.0.0.0/32"): "acme-0", spare: "initech"}
	labtest.Must(n.engine.Replace(background, api.Caller{}, api.ReplaceRequest{Name: "base", Text: linesOf(base), ForceShrink: true}))(n.T)
	for _, s := range labtest.Must(n.engine.Status(background))(n.T).Suspended {
		subject := policy.Subject{Owner: s.Subject}
		if p, err := netip.ParsePrefix(s.Subject); err == nil {
			subject = policy.Subject{Prefix: p}
		}
		labtest.Must(n.engine.Resume(background, api.Caller{}, api.SuspendRequest{Subject: subject}))(n.T)
	}
	n.write(labels{})
	labtest.Must(n.engine.Reload(background, api.Caller{}, api.ReloadRequest{Force: policy.Force{ForceShrink: true}}))(n.T)
	n.now, n.last = networkModel{made: base, file: labels{}, hosts: map[netip.Prefix]bool{}, owners: map[string]stopModel{}}, nil
}

var networkOwner = rapid.SampledFrom([]string{"", "acme", "globex", "initech"})

// networkPrefix is one of 31 within each other.
var networkPrefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
	bits := rapid.SampledFrom([]int{28, 29, 30, 31, 32, 32}).Draw(t, "bits")
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, rapid.ByteMax(15).Draw(t, "last")}), bits).Masked()
})

var networkLabels = rapid.Custom(func(t *rapid.T) labels {
	all := labels{}
	for range rapid.IntRange(0, 4).Draw(t, "lines") {
		all[networkPrefix.Draw(t, "prefix")] = networkOwner.Draw(t, "owner")
	}
	return all
})

// step makes one change, which may be refused, and has the model follow it.
func (n *network) step(t *rapid.T) {
	next := n.now.clone()
	who := api.Caller{}
	// The first ones are drawn most. What can seldom be done comes first, where it can be.
	verbs := []string{"free", "resume", "add", "add", "add", "remove", "replace", "file", "file", "wait", "suspend", "suspend", "nested", "stop", "rollback", "restart"}
	if n.waits { // most others are refused
		verbs = []string{"confirm", "confirm", "free", "resume", "add", "file", "rollback", "suspend", "suspend", "nested", "stop", "restart"}
	}
	verbs = slices.DeleteFunc(verbs, func(verb string) bool {
		return verb == "free" && len(next.hosts) == 0 || verb == "resume" && len(next.owners) == 0 || verb == "rollback" && n.last == nil
	})
	verb := rapid.SampledFrom(verbs).Draw(t, "verb")
	var err error
	var aside policy.Subject // whom a suspension or its end is about
	waited := n.waits
	switch verb {
	case "add":
		p, owner := networkPrefix.Draw(t, "prefix"), networkOwner.Draw(t, "owner")
		_, err = n.engine.Add(background, who, api.AddRequest{Prefixes: []string{p.String()}, Owner: owner, Whole: true})
		next.made[p] = owner
	case "remove":
		p := oneOf(t, "prefix", next.made, spare)
		_, err = n.engine.Remove(background, who, api.RemoveRequest{Prefixes: []string{p.String()}})
		delete(next.made, p)
	case "replace":
		next.made = networkLabels.Draw(t, "list")
		next.made[spare] = "initech"
		_, err = n.engine.Replace(background, who, api.ReplaceRequest{Name: "list", Text: linesOf(next.made), ForceShrink: true})
	case "file", "wait":
		before, request := n.disk, api.ReloadRequest{Force: policy.Force{ForceShrink: true}}
		if verb == "wait" {
			request.Confirm = "1h"
		}
		next.file = networkLabels.Draw(t, "file")
		n.write(maps.Clone(next.file))
		var plan api.Plan
		if plan, err = n.engine.Reload(background, who, request); err != nil {
			n.write(before)
		} else {
			n.waits = plan.Confirm != nil
		}
	case "confirm":
		if _, err = n.engine.Confirm(background, who, api.ConfirmRequest{}); err == nil {
			n.waits = false
		}
	case "suspend", "nested":
		subject := policy.Subject{Owner: rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "owner")}
		_, err = n.engine.Suspend(background, who, api.SuspendRequest{Subject: subject, Nested: verb == "nested"})
		next.suspend(subject.Owner, verb == "nested")
		aside = subject
	case "resume":
		owner := oneOf(t, "owner", next.owners)
		aside = policy.Subject{Owner: owner}
		_, err = n.engine.Resume(background, who, api.SuspendRequest{Subject: policy.Subject{Owner: owner}})
		delete(next.owners, owner)
	case "stop":
		p := networkPrefix.Draw(t, "prefix")
		_, err = n.engine.Suspend(background, who, api.SuspendRequest{Subject: policy.Subject{Prefix: p}})
		next.hosts[p] = true
		aside = policy.Subject{Prefix: p}
	case "free":
		p := oneOf(t, "prefix", next.hosts)
		aside = policy.Subject{Prefix: p}
		_, err = n.engine.Resume(background, who, api.SuspendRequest{Subject: policy.Subject{Prefix: p}})
		delete(next.hosts, p)
	case "rollback":
		if n.last == nil {
			return
		}
		_, err = n.engine.Rollback(background, who, api.RollbackRequest{Force: policy.Force{ForceShrink: true}})
		next = n.last.clone()
		n.waits = n.waits && err != nil
	case "restart":
		n.stop()
		n.entries = len(n.now.entries())
		n.start()
	}
	var refused *policy.Refused
	var input *policy.InputError
	if errors.As(err, &refused) || errors.As(err, &input) {
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	n.made[verb]++
	next.follow(n.now)
	switch {
	case aside != policy.Subject{} && waited:
		n.made["aside"]++
		n.last.setAside(aside, next)
	case waited && slices.Contains([]string{"add", "remove", "replace", "file", "wait"}, verb):
		t.Fatalf("%s is made while another change waits for its confirmation", verb)
	case !next.equal(n.now):
		before := n.now
		n.last = &before
	}
	n.now = next
}

// oneOf draws a key of all, but for but; something that is not there where there is none.
func oneOf[K comparable, V any](t *rapid.T, name string, all map[K]V, but ...K) (key K) {
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(k K) bool { return slices.Contains(but, k) })
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	if len(keys) > 0 {
		key = rapid.SampledFrom(keys).Draw(t, name)
	}
	return key
}

// compare holds the kernel's word on every source against the model's.
func (n *network) compare(t *rapid.T) {
	var sources []netip.Addr
	for last := range 17 {
		sources = append(sources, netip.AddrFrom4([4]byte{203, 0, 113, byte(last)}))
	}
	var results []api.CheckResult
	if err := n.lab.Host.Do(func() (err error) {
		results, err = n.engine.Check(background, sources, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		want := n.now.verdict(r.Address)
		n.verdicts[want]++
		if r.Reason != want || (r.Verdict == "pass") != (want == policy.ReasonListed) {
			t.Fatalf("%s is %s, %s by %v (%q); the model says %s\nlisted %v\nsuspended %v", r.Address, r.Verdict, r.Reason, r.Prefix, r.Owner, want, n.now.entries(), n.now.owners)
		}
	}
}

// Promise: who is suspended stays out, and nobody else goes with him, through any order
// of add, remove, replace, edited files, changes that wait for their confirmation,
// suspensions of others and of hosts, rollbacks and restarts, with prefixes within each
// other and entries that have no owner. Verdicts are the kernel's.
func TestSuspensionIsOfTheNetwork(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	defer flag.Set("rapid.checks", checks.Value.String())
	if checks.Value.String() == checks.DefValue { // each is some forty changes on disk and in the kernel
		if err := flag.Set("rapid.checks", "20"); err != nil {
			t.Fatal(err)
		}
	}
	n := newNetwork(t)
	rapid.Check(t, func(t *rapid.T) {
		n.begin()
		for range rapid.IntRange(15, 50).Draw(t, "changes") {
			n.step(t)
			n.compare(t)
		}
	})
	t.Logf("changes %v, verdicts %v", n.made, n.verdicts)
	for _, verb := range []string{"add", "remove", "replace", "file", "wait", "confirm", "suspend", "nested", "aside", "resume", "stop", "free", "rollback", "restart"} {
		if n.made[verb] == 0 {
			t.Errorf("no %s was made: the test shows less than it says", verb)
		}
	}
	for _, reason := range []string{"listed", "not_listed", "suspended", "rate_limited"} {
		if n.verdicts[reason] == 0 {
			t.Errorf("no source was %s: the test shows less than it says", reason)
		}
	}
}

// Promise: who was suspended by a release that noted no prefixes is held, from the start
// of this one, by what the last good list says; a rollback of what was last does not end
// it, and the next daemon knows.
func TestSuspensionOfAnOldRelease(t *testing.T) {
	n := newNetwork(t)
	n.begin()
	network := netip.MustParsePrefix("203.0.113.0/28")
	put := func(owner string) {
		t.Helper()
		list := linesOf(labels{network: owner, spare: "initech"})
		labtest.Must(n.engine.Replace(background, api.Caller{}, api.ReplaceRequest{Name: "list", Text: list, ForceShrink: true}))(t)
	}
	says := func(when, want string) {
		t.Helper()
		var results []api.CheckResult
		if err := n.lab.Host.Do(func() (err error) {
			results, err = n.engine.Check(background, []netip.Addr{network.Addr()}, nil)
			return err
		}); err != nil || len(results) != 1 || results[0].Reason != want {
			t.Errorf("%s: %+v, %v, want %s", when, results, err, want)
		}
	}
	again := func(meanwhile func(*store.Store) error) {
		t.Helper()
		n.stop()
		kept := labtest.Must(store.Open(n.options.State))(t)
		if err := errors.Join(meanwhile(kept), kept.Close()); err != nil {
			t.Fatal(err)
		}
		n.entries = 2
		n.start()
	}
	put("acme")
	again(func(kept *store.Store) error {
		return kept.Apply(store.Change{
			Suspend:    []store.Suspension{{Subject: policy.Subject{Owner: "acme"}, Reason: "unpaid", Unnoted: true}},
			Generation: labtest.Must(kept.Generation())(t) + 1,
		})
	})
	says("as it was", "suspended")
	put("globex")
	says("another's", "suspended")
	again(func(kept *store.Store) error {
		all := labtest.Must(kept.Suspensions())(t)
		if len(all) != 1 || all[0].Unnoted || !slices.Equal(all[0].Held, []netip.Prefix{network}) || all[0].Reason != "unpaid" {
			t.Errorf("kept is %+v", all)
		}
		return nil
	})
	says("another's, and started again", "suspended")
	labtest.Must(n.engine.Rollback(background, api.Caller{}, api.RollbackRequest{Force: policy.Force{ForceShrink: true}}))(t)
	says("rolled back", "suspended")
	put("globex")
	labtest.Must(n.engine.Resume(background, api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}))(t)
	says("resumed", "listed")
}
