// A suspension is of an owner's network, whatever becomes of the labels in it. The model
// here is written from that sentence and knows nothing of how it is done.
package reconcile_test

import (
	"errors"
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// labels are prefixes and the owners that one origin gives them, "" for none.
type labels map[netip.Prefix]string

// stopModel is the suspension of one owner.
type stopModel struct {
	his  map[netip.Prefix]bool // that were his while it lasted
	stay labels                // of others, who were there before
}

// networkModel is what was said, and by whom: no kernel, no tries, no numbers.
type networkModel struct {
	made, file labels // by add and replace; in the list file, as last read
	hosts      map[netip.Prefix]bool
	owners     map[string]stopModel
}

func (m networkModel) clone() networkModel {
	c := networkModel{made: maps.Clone(m.made), file: maps.Clone(m.file), hosts: maps.Clone(m.hosts), owners: map[string]stopModel{}}
	for name, s := range m.owners {
		c.owners[name] = stopModel{maps.Clone(s.his), maps.Clone(s.stay)}
	}
	return c
}

func (m networkModel) equal(o networkModel) bool {
	return maps.Equal(m.made, o.made) && maps.Equal(m.file, o.file) && maps.Equal(m.hosts, o.hosts) &&
		maps.EqualFunc(m.owners, o.owners, func(a, b stopModel) bool {
			return maps.Equal(a.his, b.his) && maps.Equal(a.stay, b.stay)
		})
}

// entries are what both origins come to.
func (m networkModel) entries() labels {
	all := maps.Clone(m.file)
	for p, owner := range m.made {
		if owner != "" || all[p] == "" {
			all[p] = owner
		}
	}
	return all
}

func covers(a, b netip.Prefix) bool { return a.Bits() <= b.Bits() && a.Contains(b.Addr()) }

// longest is the longest of prefixes that covers p.
func longest[V any](prefixes map[netip.Prefix]V, p netip.Prefix) (found netip.Prefix, ok bool) {
	for q := range prefixes {
		if covers(q, p) && (!ok || q.Bits() > found.Bits()) {
			found, ok = q, true
		}
	}
	return found, ok
}

// stops reports whether the suspension covers p: the nearest that is said of p and what
// is around it decides.
func (s stopModel) stops(entries labels, p netip.Prefix) bool {
	standing := labels{}
	for q, owner := range s.stay {
		if now, listed := entries[q]; listed && now == owner {
			standing[q] = owner
		}
	}
	his, found := longest(s.his, p)
	theirs, between := longest(standing, p)
	return found && !(between && theirs.Bits() > his.Bits())
}

// verdict is what happens to a source.
func (m networkModel) verdict(source netip.Addr) string {
	entries := m.entries()
	at := netip.PrefixFrom(source, source.BitLen())
	e, listed := longest(entries, at)
	if !listed {
		return "not_listed"
	}
	if _, stopped := longest(m.hosts, at); stopped {
		return "suspended"
	}
	for _, s := range m.owners {
		if s.stops(entries, at) {
			return "suspended"
		}
	}
	owner := entries[e]
	for q, ok := e, true; owner == "" && ok; owner = entries[q] {
		wider := labels{}
		for around := range entries {
			if around.Bits() < q.Bits() {
				wider[around] = ""
			}
		}
		if q, ok = longest(wider, e); !ok {
			break
		}
	}
	if _, stopped := m.owners[owner]; stopped {
		return "suspended"
	}
	if owner == "initech" { // who has used up his limit
		return "rate_limited"
	}
	return "listed"
}

// suspend stops owner.
func (m networkModel) suspend(owner string) {
	entries := m.entries()
	s, again := m.owners[owner]
	if !again {
		s = stopModel{map[netip.Prefix]bool{}, labels{}}
	}
	for p, of := range entries {
		if of == owner {
			s.his[p] = true
		}
	}
	for p, of := range entries {
		if _, inside := longest(s.his, p); !again && inside && of != "" && of != owner {
			s.stay[p] = of
		}
	}
	m.owners[owner] = s
}

// follow has the suspensions follow a change: what is his now stays stopped from now on,
// and who was there before it was his goes on.
func (m networkModel) follow(before networkModel) {
	old, entries := before.entries(), m.entries()
	for owner, s := range m.owners {
		was := stopModel{maps.Clone(s.his), maps.Clone(s.stay)}
		for p, of := range entries {
			if of != owner || s.his[p] {
				continue
			}
			s.his[p] = true
			for q, theirs := range old {
				if covers(p, q) && theirs != "" && theirs != owner && entries[q] == theirs && !was.stops(old, q) {
					s.stay[q] = theirs
				}
			}
		}
	}
}

// network is a gate, its list file and the model of both.
type network struct {
	*gate
	path     string
	disk     labels
	now      networkModel
	last     *networkModel // as it was before the last change
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
	limit := reconcile.LimitRequest{Owner: "initech", Limit: reconcile.Limit{PerSecond: 1. / 86400, Burst: 1}}
	labtest.Must(n.engine.Limit(background, reconcile.Caller{}, limit))(t)
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
	base := labels{netip.MustParsePrefix("10.0.0.0/32"): "acme-0", spare: "initech"}
	labtest.Must(n.engine.Replace(background, reconcile.Caller{}, reconcile.ReplaceRequest{Name: "base", Text: linesOf(base), ForceShrink: true}))(n.T)
	for _, s := range labtest.Must(n.engine.Status(background))(n.T).Suspended {
		subject := reconcile.Subject{Owner: s.Subject}
		if p, err := netip.ParsePrefix(s.Subject); err == nil {
			subject = reconcile.Subject{Prefix: p}
		}
		labtest.Must(n.engine.Resume(background, reconcile.Caller{}, reconcile.SuspendRequest{Subject: subject}))(n.T)
	}
	n.write(labels{})
	labtest.Must(n.engine.Reload(background, reconcile.Caller{}, reconcile.ReloadRequest{ForceShrink: true}))(n.T)
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
	who := reconcile.Caller{}
	verb := rapid.SampledFrom([]string{"add", "add", "add", "remove", "remove", "replace", "file", "file", "suspend", "suspend", "suspend", "resume", "stop", "free", "rollback", "restart"}).Draw(t, "verb")
	var err error
	switch verb {
	case "add":
		p, owner := networkPrefix.Draw(t, "prefix"), networkOwner.Draw(t, "owner")
		_, err = n.engine.Add(background, who, reconcile.AddRequest{Prefixes: []string{p.String()}, Owner: owner, Whole: true})
		next.made[p] = owner
	case "remove":
		p := networkPrefix.Draw(t, "prefix")
		_, err = n.engine.Remove(background, who, reconcile.RemoveRequest{Prefixes: []string{p.String()}})
		delete(next.made, p)
	case "replace":
		next.made = networkLabels.Draw(t, "list")
		next.made[spare] = "initech"
		_, err = n.engine.Replace(background, who, reconcile.ReplaceRequest{Name: "list", Text: linesOf(next.made), ForceShrink: true})
	case "file":
		before := n.disk
		next.file = networkLabels.Draw(t, "file")
		n.write(maps.Clone(next.file))
		if _, err = n.engine.Reload(background, who, reconcile.ReloadRequest{ForceShrink: true}); err != nil {
			n.write(before)
		}
	case "suspend":
		owner := rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "owner")
		_, err = n.engine.Suspend(background, who, reconcile.SuspendRequest{Subject: reconcile.Subject{Owner: owner}})
		next.suspend(owner)
	case "resume":
		owner := rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "owner")
		_, err = n.engine.Resume(background, who, reconcile.SuspendRequest{Subject: reconcile.Subject{Owner: owner}})
		delete(next.owners, owner)
	case "stop":
		p := networkPrefix.Draw(t, "prefix")
		_, err = n.engine.Suspend(background, who, reconcile.SuspendRequest{Subject: reconcile.Subject{Prefix: p}})
		next.hosts[p] = true
	case "free":
		p := networkPrefix.Draw(t, "prefix")
		_, err = n.engine.Resume(background, who, reconcile.SuspendRequest{Subject: reconcile.Subject{Prefix: p}})
		delete(next.hosts, p)
	case "rollback":
		if n.last == nil {
			return
		}
		_, err = n.engine.Rollback(background, who, reconcile.RollbackRequest{ForceShrink: true})
		next = n.last.clone()
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
	if verb != "rollback" {
		next.follow(n.now)
	}
	if !next.equal(n.now) {
		before := n.now
		n.last = &before
	}
	n.now = next
}

// compare holds the kernel's word on every source against the model's.
func (n *network) compare(t *rapid.T) {
	var sources []netip.Addr
	for last := range 17 {
		sources = append(sources, netip.AddrFrom4([4]byte{203, 0, 113, byte(last)}))
	}
	var results []reconcile.CheckResult
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
// of add, remove, replace, edited files, suspensions of others and of hosts, rollbacks and
// restarts, with prefixes within each other and entries that have no owner. Verdicts are
// the kernel's.
func TestSuspensionIsOfTheNetwork(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	defer flag.Set("rapid.checks", checks.Value.String())
	if checks.Value.String() == checks.DefValue { // each is some forty changes on disk and in the kernel
		if err := flag.Set("rapid.checks", "25"); err != nil {
			t.Fatal(err)
		}
	}
	n := newNetwork(t)
	rapid.Check(t, func(t *rapid.T) {
		n.begin()
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			n.step(t)
			n.compare(t)
		}
	})
	t.Logf("changes %v, verdicts %v", n.made, n.verdicts)
	for _, verb := range []string{"add", "remove", "replace", "file", "suspend", "resume", "stop", "free", "rollback", "restart"} {
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
