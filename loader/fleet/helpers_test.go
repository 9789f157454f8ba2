// This file holds what the tests of this package share.

package fleet

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/fleet/fleettest"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/fleet/layout/layouttest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// rapid logs the seed of a failure; TEST_SEED runs that one again.
func TestMain(m *testing.M) {
	flag.Parse()
	if seed := os.Getenv("TEST_SEED"); seed != "" {
		if err := flag.Set("rapid.seed", seed); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// fast are the intervals of a host that tests can wait for.
var fast = Intervals{
	Poll: 500 * time.Millisecond, Retry: 50 * time.Millisecond, Most: 500 * time.Millisecond,
	Within: time.Second, Lease: 6 * time.Second,
}

// settings are those of a host named name.
func settings(c *fleettest.Cluster, name string) source.Settings {
	cert, key := c.Certificate(name)
	return source.Settings{Name: "prod", Owner: source.AnyOwner, Limits: source.EtcdLimits, Etcd: &source.Etcd{
		Endpoints: c.Endpoints(), CA: c.CA, Cert: cert, Key: key, Fleet: "prod", List: Main,
	}}
}

// dial returns a client that user has.
func dial(t testing.TB, c *fleettest.Cluster, user string) *Client {
	t.Helper()
	s := settings(c, user)
	client, err := Dial(Config{Fleet: "prod", Endpoints: s.Etcd.Endpoints, CA: s.Etcd.CA, Cert: s.Etcd.Cert, Key: s.Etcd.Key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// cluster starts a cluster with the fleet "prod", and returns a client of its operator.
func cluster(t testing.TB, members int, args ...string) (*fleettest.Cluster, *Client) {
	t.Helper()
	c := fleettest.Start(t, members, args...)
	operator := dial(t, c, "root")
	if _, made, err := operator.Init(t.Context()); err != nil || !made {
		t.Fatalf("init: made %v, %v", made, err)
	}
	return c, operator
}

// followed starts a cluster as cluster does, and a host, web1, that has all, the entries of its list.
func followed(t testing.TB, entries, members int, args ...string) (c *fleettest.Cluster, operator *Client, all []policy.Claim, h *host) {
	t.Helper()
	c, operator = cluster(t, members, args...)
	all = layouttest.Many(entries)
	set(t, operator, all)
	h = follows(t, settings(c, "web1"), "web1")
	h.has(1, all)
	return c, operator, all, h
}

// set makes the list be all.
func set(t testing.TB, c *Client, all []policy.Claim) *layout.Manifest {
	t.Helper()
	m, _, err := c.Write(t.Context(), Change{
		List: Main, By: "alice@bastion", Command: "fleet replace list", Reason: "OPS-1",
		Edit: func(View) (*Content, error) { return &Content{Claims: all, AllowEmpty: len(all) == 0}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// host is what follows a fleet in a test, in place of an engine: it keeps what was taken over, and
// holds it to what an engine may rely on.
type host struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	follow *follower

	mu        sync.Mutex
	claims    map[netip.Prefix]policy.Claim
	have      source.Have
	overrides source.Overrides
	why       []string
	err       error // of the last reading
	refuse    error // what take answers
	changed   chan struct{}
	wholes    int
	troubles  int   // how many readings were none
	trouble   error // of the last of these
}

// follows starts a host named name.
func follows(t testing.TB, s source.Settings, name string) *host {
	h := &host{t: t, claims: map[netip.Prefix]policy.Claim{}}
	h.start(s, name)
	t.Cleanup(h.stop)
	return h
}

func (h *host) start(s source.Settings, name string) {
	ctx, cancel := context.WithCancel(h.t.Context())
	h.cancel, h.done, h.changed = cancel, make(chan struct{}), make(chan struct{}, 1)
	h.follow = newFollower(s, Self{Name: name, Version: "test", Report: h.report}, fast)
	h.mu.Lock()
	have := h.have
	have.Claims = nil
	for _, c := range h.claims {
		have.Claims = append(have.Claims, c)
	}
	slices.SortFunc(have.Claims, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	h.mu.Unlock()
	go func() {
		defer close(h.done)
		h.follow.Follow(ctx, have, h.take)
	}()
}

// stop ends the host as a daemon ends: what it took over stays.
func (h *host) stop() {
	h.cancel()
	<-h.done
}

func (h *host) report() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Report{Enforcing: "yes", Prefixes: len(h.claims)}
}

func (h *host) take(_ context.Context, r source.Reading) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer signal(h.changed)
	h.err = r.Err
	if r.Err != nil {
		h.troubles, h.trouble = h.troubles+1, r.Err
		return nil
	}
	if h.refuse != nil && r.Manifest != nil {
		return h.refuse
	}
	if r.Edit == nil {
		h.wholes++
		clear(h.claims)
		for _, c := range r.Claims {
			h.claims[c.Prefix] = c
		}
	} else {
		for _, key := range r.Edit.Remove {
			if _, found := h.claims[key.Prefix]; !found {
				h.t.Errorf("%s removes %v, which is not there", r.Why, key.Prefix)
			}
			delete(h.claims, key.Prefix)
		}
		for _, c := range r.Edit.Put {
			h.claims[c.Prefix] = c
		}
	}
	if len(h.claims) == 0 && !r.Force.AllowEmpty && r.Manifest != nil {
		h.t.Errorf("%s leaves nobody", r.Why)
	}
	h.have.Mark, h.have.Sum, h.have.At = r.Mark, r.Sum, time.Now()
	if r.Manifest != nil {
		h.have.Manifest, h.have.Fleet, h.overrides = r.Manifest, r.Fleet, *r.Overrides
		h.why = append(h.why, r.Why)
	}
	return nil
}

// until waits for what a host comes to.
func (h *host) until(what string, is func() bool) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	for {
		h.mu.Lock()
		done := is()
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-h.changed:
		case <-deadline:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.t.Fatalf("%s never came: %d entries, mark %s, error %v", what, len(h.claims), h.have.Mark, h.err)
		}
	}
}

// has waits for the host to have all, and serial.
func (h *host) has(serial uint64, all []policy.Claim) {
	h.t.Helper()
	h.until(fmt.Sprintf("serial %d", serial), func() bool { return h.have.Mark == fmt.Sprint(serial) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.claims) != len(all) {
		h.t.Errorf("serial %d: %d entries, want %d", serial, len(h.claims), len(all))
	}
	for _, c := range all {
		if got := h.claims[c.Prefix]; !policy.SameWords(got, c) {
			h.t.Errorf("serial %d: %v, want %v", serial, got, c)
		}
	}
}

func keysBelow() []clientv3.OpOption {
	return []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithKeysOnly()}
}
