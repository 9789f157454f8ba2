package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/fleet/layout/layouttest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// reports writes what a host says it has.
func reports(t *testing.T, c *Client, name string, serial uint64) {
	t.Helper()
	text, err := json.Marshal(Host{Name: name, List: Main, Serial: serial})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.etcd.Put(t.Context(), c.key("host", Main, name), string(text)); err != nil {
		t.Fatal(err)
	}
}

// Promise: a backup may be older than all the manifests that are kept. The next change is over what
// hosts have, and what the list was is still there to go back to.
func TestBackupIsOld(t *testing.T) {
	t.Parallel()
	_, operator := cluster(t, 1)
	for i := range 3 {
		set(t, operator, layouttest.Many(i+1))
	}
	const ahead = 3 + 5*keptPast
	reports(t, operator, "web1", ahead)
	for i := range 2 {
		if m := set(t, operator, layouttest.Many(i+5)); m.Serial != ahead+1+uint64(i) {
			t.Errorf("serial %d, and a host has %d", m.Serial, ahead)
		}
	}
	if got, want := slices.Sorted(maps.Keys(history(t, operator))), []uint64{1, 2, 3, ahead + 1, ahead + 2}; !slices.Equal(got, want) {
		t.Errorf("kept are %v, want %v", got, want)
	}
}

// Promise: no more than a hundred manifests are kept.
func TestPastIsBounded(t *testing.T) {
	t.Parallel()
	_, operator := cluster(t, 1)
	for i := range keptPast + 5 {
		set(t, operator, layouttest.Many(i%3+1))
	}
	past, err := operator.etcd.Get(t.Context(), operator.key("past", Main, ""), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || past.Count != keptPast {
		t.Errorf("%d manifests are kept, want %d: %v", past.Count, keptPast, err)
	}
}

// Promise: a host that says it has a serial that nobody wrote stops no operator.
func TestHostLiesOfItsSerial(t *testing.T) {
	t.Parallel()
	for _, serial := range []uint64{1<<53 - 1, 1 << 60, 1<<64 - 1} {
		t.Run(fmt.Sprint(serial), func(t *testing.T) {
			t.Parallel()
			_, operator := cluster(t, 1)
			set(t, operator, layouttest.Many(1))
			reports(t, operator, "web1", serial)
			if m := set(t, operator, layouttest.Many(2)); m.Serial != 2 {
				t.Errorf("serial %d after 1", m.Serial)
			}
		})
	}
}

// Promise: a suspension that passes while one of a group waits for confirmation is added to that one,
// and does not take its place.
func TestTwoSuspensionsAtOnce(t *testing.T) {
	t.Parallel()
	_, operator := cluster(t, 1)
	set(t, operator, layouttest.Many(1))
	suspend := func(owner, group string) {
		t.Helper()
		_, _, err := operator.Write(t.Context(), Change{
			List: Main, By: "bob", Command: "fleet suspend " + owner, Overrides: true, Group: group, Confirm: time.Minute,
			Edit: func(v View) (*Content, error) {
				return &Content{Suspended: append(slices.Clone(v.Manifest.Suspended), layout.Suspension{Subject: owner, Since: time.Now().UTC()})}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	stopped := func(m *layout.Manifest) (owners []string) {
		for _, s := range m.Suspended {
			owners = append(owners, s.Subject)
		}
		return owners
	}
	suspend("acme", "canary")
	suspend("globex", "")
	view, err := operator.View(t.Context(), Main, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := stopped(view.Manifest); !slices.Equal(got, []string{"globex"}) {
		t.Errorf("every host stops %v", got)
	}
	if got := stopped(view.Next); !slices.Equal(got, []string{"acme", "globex"}) {
		t.Errorf("the group stops %v", got)
	}
	m, _, err := operator.Confirm(t.Context(), Main)
	if err != nil || !slices.Equal(stopped(m), []string{"acme", "globex"}) {
		t.Errorf("confirmed stops %v: %v", stopped(m), err)
	}
}

// Promise: a host says nothing to an operator's terminal that this program would not say.
func TestHostSaysControlCharacters(t *testing.T) {
	t.Parallel()
	_, operator := cluster(t, 1)
	set(t, operator, layouttest.Many(1))
	const evil = "\x1b[2J\nweb2"
	text, err := json.Marshal(Host{List: Main, Serial: 1, Group: evil, Version: evil, Report: Report{Enforcing: evil, Problems: []string{evil}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{operator.key("host", Main, "web1"), operator.key("known", "web1"), operator.key("known", "web3")} {
		if _, err := operator.etcd.Put(t.Context(), key, string(text)); err != nil {
			t.Fatal(err)
		}
	}
	hosts, err := operator.Hosts(t.Context(), Main)
	if err != nil || len(hosts) != 2 || hosts[0].Silent {
		t.Fatalf("%+v, %v", hosts, err)
	}
	for _, h := range hosts {
		for _, word := range append(h.Problems, h.Group, h.Version, h.Enforcing) {
			if word != policy.Printable(word) {
				t.Errorf("%s says %q", h.Name, word)
			}
		}
	}
}

// Promise: what waits for confirmation and is for no group is refused, and stops no command.
func TestWaitsForNobody(t *testing.T) {
	t.Parallel()
	_, operator := cluster(t, 1)
	m := *set(t, operator, layouttest.Many(1))
	m.Serial++
	if _, err := operator.etcd.Put(t.Context(), operator.key("next", Main), string(m.Encode())); err != nil {
		t.Fatal(err)
	}
	view, err := operator.View(t.Context(), Main, false)
	if err == nil && view.Next != nil && view.Next.First == nil {
		t.Error("it is read as one that waits")
	}
}

// Promise: of a list that is over its limit a host fetches nothing.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 1)
	set(t, operator, layouttest.Many(2))
	if _, err := operator.etcd.Delete(t.Context(), operator.key("chunk", Main, ""), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	small := settings(c, "web1")
	small.Limits.Entries = 1
	h := follows(t, small, "web1")
	h.until("trouble", func() bool { return h.err != nil })
	h.mu.Lock()
	defer h.mu.Unlock()
	if !strings.Contains(h.err.Error(), "2 entries are over max_entries 1") || len(h.claims) > 0 {
		t.Errorf("%d entries, %v", len(h.claims), h.err)
	}
}
