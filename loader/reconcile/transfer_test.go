// An export and its import, held against the model of suspensions.
package reconcile_test

import (
	"errors"
	"flag"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// exported is what n's commands made, as text.
func (n *network) exported() string {
	n.Helper()
	var text strings.Builder
	if err := n.engine.Export(background, false, &text); err != nil {
		n.Fatal(err)
	}
	return text.String()
}

// take brings n to an arbitrary state in so many changes, of which none waits; with stopped
// the first is a suspension.
func (n *network) take(t *rapid.T, stopped bool, changes int) {
	n.begin()
	if stopped {
		host := netip.MustParsePrefix("10.0.0.0/32")
		labtest.Must(n.engine.Suspend(background, api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Prefix: host}}))(n.T)
		n.now.hosts[host] = true
	}
	for range changes {
		n.step(t)
	}
	if n.waits {
		labtest.Must(n.engine.Confirm(background, api.Caller{}, api.ConfirmRequest{}))(n.T)
		n.waits = false
	}
}

// configured has n read the list file of another host, as an operator who moves brings his
// files. What commands made here, and what they say, may contradict it.
func (n *network) configured(other networkModel) {
	n.Helper()
	reload := func() error {
		_, err := n.engine.Reload(background, api.Caller{}, api.ReloadRequest{Force: policy.Force{ForceShrink: true}})
		return err
	}
	says := func(change func(*networkModel)) {
		next := n.now.clone()
		change(&next)
		next.follow(n.now)
		n.now = next
	}
	n.write(maps.Clone(other.file))
	if reload() != nil {
		says(func(m *networkModel) { m.made = labels{spare: "initech"} })
		labtest.Must(n.engine.Replace(background, api.Caller{}, api.ReplaceRequest{Name: "spare", Text: linesOf(n.now.made), ForceShrink: true}))(n.T)
		if err := reload(); err != nil {
			n.Fatal(err)
		}
	}
	says(func(m *networkModel) { m.file = maps.Clone(other.file) })
}

// Promise: what one host exports another imports: it exports the same then, and judges
// every source alike, whatever stood there before, and after a restart. A dry run and an
// import that is refused change nothing; a rollback takes all of it back.
func TestImportIsTheExport(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	defer flag.Set("rapid.checks", checks.Value.String())
	if checks.Value.String() == checks.DefValue { // each is some forty changes on disk and in the kernel
		if err := flag.Set("rapid.checks", "15"); err != nil {
			t.Fatal(err)
		}
	}
	from, to := newNetwork(t), newNetwork(t)
	met := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		from.take(t, false, rapid.IntRange(5, 20).Draw(t, "changes there"))
		to.take(t, true, rapid.IntRange(0, 10).Draw(t, "changes here"))
		to.configured(from.now)
		was := to.now.clone()

		text, before := from.exported(), to.exported()
		request := api.ImportRequest{ReplaceRequest: api.ReplaceRequest{Name: "there", Text: text, ForceShrink: true, DryRun: true}}
		would := labtest.Must(to.engine.Import(background, api.Caller{}, request))(to.T)
		request.DryRun = false
		_, err := to.engine.Import(background, api.Caller{}, request)
		var refused *policy.Refused
		if (len(would.Loosens) > 0) != errors.As(err, &refused) || (would.Refused != nil) != (refused != nil) {
			t.Fatalf("a dry run says %q and %+v, the import %v", would.Loosens, would.Refused, err)
		}
		if refused != nil {
			met["refused"]++
			if refused.Hint != "--allow-open" || to.exported() != before {
				t.Fatalf("refused with the hint %q, and there is\n%s\nwas\n%s", refused.Hint, to.exported(), before)
			}
			to.compare(t)
			request.AllowOpen = true
			_, err = to.engine.Import(background, api.Caller{}, request)
		}
		if err != nil {
			t.Fatal(err)
		}
		to.now.made, to.now.hosts, to.now.owners = from.now.clone().made, from.now.clone().hosts, from.now.clone().owners
		same := func(when string) {
			if got := to.exported(); got != text {
				t.Fatalf("%s there is\n%s\nwant\n%s", when, got, text)
			}
			to.compare(t)
		}
		same("imported,")
		if rapid.Bool().Draw(t, "restarted") {
			to.stop()
			to.entries = len(to.now.entries())
			to.start()
			same("started again,")
		}
		again := labtest.Must(to.engine.Import(background, api.Caller{}, request))(to.T)
		if len(again.Added)+len(again.Removed)+len(again.Changed)+len(again.Overrides) > 0 {
			t.Fatalf("imported again: %+v", again)
		}
		if text == before {
			return
		}
		met["rolled back"]++
		labtest.Must(to.engine.Rollback(background, api.Caller{}, api.RollbackRequest{Force: policy.Force{ForceShrink: true}}))(to.T)
		if got := to.exported(); got != before {
			t.Fatalf("rolled back there is\n%s\nwant\n%s", got, before)
		}
		to.now = was
		to.compare(t)
	})
	t.Logf("%v, changes %v, verdicts %v", met, to.made, to.verdicts)
	if met["refused"] == 0 || met["rolled back"] == 0 || to.verdicts["suspended"] == 0 || to.verdicts["listed"] == 0 {
		t.Errorf("%v, verdicts %v: the test shows less than it says", met, to.verdicts)
	}
}
