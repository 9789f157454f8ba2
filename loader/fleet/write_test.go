package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/fleet/layout/layouttest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// adds is a change that adds one prefix to what stands.
func adds(by string, prefix netip.Prefix) Change {
	return Change{List: Main, By: by, Command: "fleet add " + prefix.String(), Edit: func(v View) (*Content, error) {
		var all []policy.Claim
		if v.Manifest != nil {
			var err error
			if all, err = v.List.Claims(""); err != nil {
				return nil, err
			}
		}
		at, found := slices.BinarySearchFunc(all, prefix, func(c policy.Claim, p netip.Prefix) int { return policy.ComparePrefix(c.Prefix, p) })
		if found {
			return nil, nil
		}
		return &Content{Claims: slices.Insert(all, at, policy.Claim{Prefix: prefix, Owner: by})}, nil
	}}
}

// history is what the list was and is, by serial.
func history(t *testing.T, c *Client) map[uint64]*layout.Manifest {
	t.Helper()
	past, err := c.Past(t.Context(), Main, 1000)
	if err != nil {
		t.Fatal(err)
	}
	view, err := c.View(t.Context(), Main, true)
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]*layout.Manifest{}
	for _, m := range append(past, view.Manifest) {
		if all[m.Serial] != nil {
			t.Errorf("serial %d is there twice", m.Serial)
		}
		all[m.Serial] = m
	}
	return all
}

// Promise: of two operators none takes away what the other has made: each change is one serial, and
// each serial is one change. A host that follows goes through no state that nobody made.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 1)
	h := follows(t, settings(c, "web1"), "web1")
	const each = 100
	var writers sync.WaitGroup
	var mu sync.Mutex
	serials := map[uint64]string{}
	for w, name := range []string{"alice", "bob"} {
		client := dial(t, c, name)
		writers.Go(func() {
			for i := range each {
				prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(w), byte(i)}), 32)
				m, _, err := client.Write(t.Context(), adds(name, prefix))
				for refused := (*policy.Refused)(nil); errors.As(err, &refused); { // the other one was quicker five times
					m, _, err = client.Write(t.Context(), adds(name, prefix))
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				if other := serials[m.Serial]; other != "" {
					t.Errorf("serial %d is %s's and %s's", m.Serial, other, name)
				}
				serials[m.Serial] = name
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	all := history(t, operator)
	view, err := operator.View(t.Context(), Main, true)
	if err != nil {
		t.Fatal(err)
	}
	if view.Manifest.Serial != 2*each || view.Manifest.Entries != 2*each {
		t.Errorf("serial %d, %d entries after %d changes", view.Manifest.Serial, view.Manifest.Entries, 2*each)
	}
	for serial, m := range all {
		if m.By != serials[serial] {
			t.Errorf("serial %d is by %s, and %s was told so", serial, m.By, serials[serial])
		}
	}
	if n := len(all); n < keptPast || n > keptPast+cleanEvery+1 {
		t.Errorf("%d manifests are kept, want %d", n, keptPast)
	}
	chunks, err := operator.etcd.Get(t.Context(), operator.key("chunk", Main, ""), keysBelow()...)
	if err != nil || len(chunks.Kvs) > keptPast+cleanEvery+atOnce {
		t.Errorf("%d chunks are kept, %v", len(chunks.Kvs), err)
	}
	final, err := view.List.Claims("")
	if err != nil {
		t.Fatal(err)
	}
	h.has(2*each, final)
}

// TestWriterIsKilled's child writes one change after the other, and says which was acknowledged.
func TestWritingChild(t *testing.T) {
	if os.Getenv("FLEET_CHILD") == "" {
		return
	}
	words := strings.Split(os.Getenv("FLEET_CHILD"), ",")
	client, err := Dial(Config{Fleet: "prod", Endpoints: []string{words[0]}, CA: words[1], Cert: words[2], Key: words[3]})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(os.Getpid() >> 8), byte(os.Getpid()), byte(i)}), 32)
		m, _, err := client.Write(t.Context(), adds(words[4], prefix))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("made %d %s\n", m.Serial, prefix)
	}
}

// Promise: a writer that is killed at any moment loses nothing that it said was made, leaves no half
// change, and the next one goes on.
func TestWriterIsKilled(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 1)
	set(t, operator, layouttest.Many(20))
	h := follows(t, settings(c, "web1"), "web1")
	h.has(1, layouttest.Many(20))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := settings(c, "root")
	made := map[uint64]string{}
	for round := range 12 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWritingChild$")
		child.Env = append(os.Environ(), "FLEET_CHILD="+strings.Join([]string{s.Etcd.Endpoints[0], s.Etcd.CA, s.Etcd.Cert, s.Etcd.Key, fmt.Sprint("writer", round)}, ","))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		kill := time.AfterFunc(time.Hour, func() { _ = child.Process.Kill() })
		first := true
		for lines.Scan() {
			var serial uint64
			var prefix string
			if _, err := fmt.Sscanf(lines.Text(), "made %d %s", &serial, &prefix); err != nil {
				t.Errorf("the writer says %q", lines.Text())
				break
			}
			made[serial] = prefix
			if first { // it writes: kill it within some changes
				first = false
				kill.Reset(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
			}
		}
		kill.Stop()
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	view, err := operator.View(t.Context(), Main, true)
	if err != nil {
		t.Fatal(err)
	}
	all, err := view.List.Claims("")
	if err != nil {
		t.Fatal(err)
	}
	h.has(view.Manifest.Serial, all)
	past := history(t, operator)
	for serial, prefix := range made {
		m := past[serial]
		if m == nil && view.Manifest.Serial-serial < keptPast || m != nil && m.Command != "fleet add "+prefix {
			t.Errorf("serial %d, which was acknowledged for %s, is %+v", serial, prefix, m)
		}
		if !slices.ContainsFunc(all, func(c policy.Claim) bool { return c.Prefix.String() == prefix }) {
			t.Errorf("%s was acknowledged and is not on the list", prefix)
		}
	}
	if extra := len(all) - 20 - len(made); extra < 0 || extra > 12 {
		t.Errorf("%d entries beside the %d that were acknowledged: at most one a writer", extra, len(made))
	}
}

// Promise: where the leader dies or hangs under a write, what was made is never reported as failed,
// and what was not made is never reported as made.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 3)
	set(t, operator, layouttest.Many(20))
	type said struct {
		serial uint64
		err    error
	}
	results := make(chan map[string]said)
	stop := make(chan struct{})
	go func() {
		all := map[string]said{}
		defer func() { results <- all }()
		for i := 0; i < 250; i++ {
			select {
			case <-stop:
				return
			default:
			}
			prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
			m, _, err := operator.Write(t.Context(), adds("alice", prefix))
			one := said{err: err}
			if m != nil {
				one.serial = m.Serial
			}
			all[prefix.String()] = one
		}
	}()
	for round := range 2 {
		leader := c.Leader()
		time.Sleep(200 * time.Millisecond) // within some writes
		if round == 0 {
			leader.Kill()
		} else {
			leader.Freeze()
		}
		time.Sleep(4 * time.Second)
		if round == 0 {
			leader.Start()
		} else {
			leader.Thaw()
		}
		c.Ready()
	}
	close(stop)
	all := <-results
	view, err := operator.View(t.Context(), Main, true)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := view.List.Claims("")
	if err != nil {
		t.Fatal(err)
	}
	is := map[string]bool{}
	for _, claim := range listed {
		is[claim.Prefix.String()] = true
	}
	failed := 0
	for prefix, one := range all {
		switch {
		case one.err == nil && !is[prefix]:
			t.Errorf("%s was acknowledged as serial %d, and is not on the list", prefix, one.serial)
		case one.err != nil && is[prefix] && !errors.Is(one.err, ErrUnknown):
			t.Errorf("%s was reported as failed (%v), and is on the list", prefix, one.err)
		case one.err != nil:
			failed++
		}
	}
	t.Logf("%d writes, %d failed", len(all), failed)
	history(t, operator)
}

// Promise: a change that a group has first reaches no other host; without confirmation it is undone
// by itself, also where the leader is lost meanwhile; confirmed it reaches all. A suspension passes
// meanwhile, reaches all, and stays in both ends.
func TestFirstInAGroup(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 3)
	all := layouttest.Many(100)
	set(t, operator, all)
	canary := settings(c, "web1")
	canary.Etcd.Group = "canary"
	first := follows(t, canary, "web1")
	other := follows(t, settings(c, "web2"), "web2")
	first.has(1, all)
	other.has(1, all)
	staged := func(list []policy.Claim, confirm time.Duration) *layout.Manifest {
		t.Helper()
		m, _, err := operator.Write(t.Context(), Change{
			List: Main, By: "alice", Command: "fleet replace", Group: "canary", Confirm: confirm,
			Edit: func(v View) (*Content, error) { return &Content{Claims: list, Suspended: v.Manifest.Suspended}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	suspend := func(owner string) *layout.Manifest {
		t.Helper()
		m, _, err := operator.Write(t.Context(), Change{
			List: Main, By: "bob", Command: "fleet suspend " + owner, Overrides: true,
			Edit: func(v View) (*Content, error) {
				return &Content{Suspended: append(slices.Clone(v.Manifest.Suspended), layout.Suspension{Subject: owner, Since: time.Now().UTC()})}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	suspended := func(h *host, owners ...string) {
		t.Helper()
		h.until(fmt.Sprint(owners, " suspended"), func() bool {
			var names []string
			for _, s := range h.overrides.Suspended {
				names = append(names, s.Subject.String())
			}
			return slices.Equal(names, owners)
		})
	}

	// Undone by itself, with the leader lost and a suspension in between.
	m := staged(all[1:], 6*time.Second)
	first.has(m.Serial, all[1:])
	_, _, err := operator.Write(t.Context(), adds("carol", pfx("192.0.2.0/24")))
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || refused.Hint != "xdpallow fleet confirm" {
		t.Errorf("another change while one waits: %v", err)
	}
	suspend("acme")
	suspended(first, "acme")
	suspended(other, "acme")
	if first.mu.Lock(); len(first.claims) != len(all)-1 {
		t.Error("a suspension undid what waits")
	}
	first.mu.Unlock()
	lost := c.Leader()
	lost.Kill()
	first.until("what was not confirmed is undone", func() bool { return len(first.claims) == len(all) })
	lost.Start()
	c.Ready()
	suspended(first, "acme")
	other.mu.Lock()
	for _, why := range other.why {
		if strings.Contains(why, "for group") {
			t.Errorf("another host took over %s", why)
		}
	}
	other.mu.Unlock()

	// Confirmed.
	m = staged(all[2:], time.Minute)
	first.has(m.Serial, all[2:])
	suspend("globex")
	suspended(first, "acme", "globex")
	suspended(other, "acme", "globex")
	now, _, err := operator.Confirm(t.Context(), Main)
	if err != nil {
		t.Fatal(err)
	}
	first.has(now.Serial, all[2:])
	other.has(now.Serial, all[2:])
	suspended(first, "acme", "globex")
	suspended(other, "acme", "globex")
	if _, _, err := operator.Confirm(t.Context(), Main); err == nil {
		t.Error("confirmed twice")
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	for i, why := range first.why {
		if i > 0 && why == first.why[i-1] {
			t.Errorf("took over twice: %s", why)
		}
	}
}
