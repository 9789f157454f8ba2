package usage_test

// Promise guarded here: how an entry and an owner were used is never less than it was, and
// nothing is counted twice: over publishes, checkpoints, restarts and reboots, in any order.

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/usage"
	"github.com/xdpallow/xdpallow/maps"
)

// tables count like the kernel's.
type tables struct {
	entries  map[netip.Prefix]maps.Entry
	life     uint32 // the ids of the tries
	counters uint32 // the id of the owners' counters
	passed   uint64
}

func (k *tables) Lookup(p netip.Prefix) (maps.Entry, bool, error) {
	e, found := k.entries[p]
	return e, found, nil
}

func (k *tables) Use(p netip.Prefix) (hits uint64, lastSeen uint32, err error) {
	return uint64(k.entries[p].Hits), k.entries[p].LastSeen, nil
}
func (k *tables) Release() error                         { return nil }
func (k *tables) Tries() ([2]uint32, error)              { return [2]uint32{k.life, k.life + 1}, nil }
func (k *tables) CountersID() (uint32, error)            { return k.counters, nil }
func (k *tables) Openings(uint16) (maps.Openings, error) { return maps.Openings{Passed: k.passed}, nil }

// publish puts entries into new tries, and returns what the old ones had counted.
func (k *tables) publish(prefixes []netip.Prefix) (used []maps.Entry) {
	for _, e := range k.entries {
		if e.Hits > 0 {
			used = append(used, e)
		}
	}
	k.entries, k.life = map[netip.Prefix]maps.Entry{}, k.life+2
	for _, p := range prefixes {
		k.entries[p] = maps.Entry{Prefix: p}
	}
	return used
}

func TestNothingIsLostOrCountedTwice(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var prefixes []netip.Prefix
	var claims []policy.Claim
	for i := range 5 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
		prefixes = append(prefixes, p)
		claims = append(claims, policy.Claim{Prefix: p, Origin: policy.OriginFlag, Owner: "acme"})
	}
	merged, err := policy.Merge(claims, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now, entries := time.Now(), policy.NewEntries(merged)
	compiler := &compile.Compiler{Clock: compile.NewClock(now, time.Hour), Owners: compile.NewOwnerIDs(map[string]uint16{"acme": 1})}
	kept, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()

	kernel := &tables{life: 1, counters: 1}
	kernel.publish(prefixes)
	begin := func() *usage.Usage {
		u := usage.New(kernel, compiler, kept.UseOf)
		meta, err := u.BeginOwners(kept)
		if err == nil && meta != nil {
			err = kept.Apply(store.Change{Meta: meta})
		}
		if err == nil {
			err = u.Begin(kept)
		}
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	boot := time.Hour // each step takes a second
	save := func(u *usage.Usage, full bool) {
		c := u.Checkpoint(kept, entries, boot, full)
		defer c.Stop()
		for c.Next(entries, now) {
		}
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		if err := u.SaveOwners(kept); err != nil {
			t.Fatal(err)
		}
	}
	u := begin()
	hits, passed := map[netip.Prefix]uint64{}, uint64(0)
	for step := range 300 {
		boot += time.Second
		what := []string{"packet", "packet", "packet", "publish", "checkpoint", "restart", "reboot"}[random.IntN(7)]
		switch what {
		case "packet":
			p := prefixes[random.IntN(len(prefixes))]
			e := kernel.entries[p]
			e.Hits, e.LastSeen = e.Hits+1, uint32(boot/time.Second)
			kernel.entries[p] = e
			kernel.passed++
			hits[p]++
			passed++
		case "publish":
			u.AddRetired(kernel.publish(prefixes))
		case "checkpoint":
			save(u, u.Lacks() || random.IntN(2) == 0)
		case "restart":
			save(u, false) // as a daemon does that ends
			u = begin()
		case "reboot":
			save(u, false)
			kernel.publish(prefixes)
			kernel.counters, kernel.passed = kernel.counters+1, 0
			u = begin()
		}
		got, err := u.Reader().Of(prefixes, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range prefixes {
			if got[i].Hits != hits[p] {
				t.Fatalf("step %d, %s: %s has %d hits, want %d", step, what, p, got[i].Hits, hits[p])
			}
		}
		if owner, err := u.Reader().Owner("acme"); err != nil || owner.Passed != passed {
			t.Fatalf("step %d, %s: the owner had %d openings (%v), want %d", step, what, owner.Passed, err, passed)
		}
	}
}

// What a change removed is used as before where that change is taken back, and begins anew
// where somebody adds it again.
func TestRemovedAndBack(t *testing.T) {
	t.Parallel()
	prefix, now := netip.MustParsePrefix("192.0.2.1/32"), time.Now().UTC()
	entry := policy.Entry{Prefix: prefix}
	for _, back := range []bool{true, false} {
		kept, err := store.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		kernel := &tables{life: 1, counters: 1}
		kernel.publish(nil)
		kernel.entries[prefix] = maps.Entry{Prefix: prefix, Hits: 7, LastSeen: 3000}
		u := usage.New(kernel, &compile.Compiler{Clock: compile.NewClock(now, time.Hour)}, kept.UseOf)
		if err := u.Begin(kept); err != nil {
			t.Fatal(err)
		}
		removed := kernel.entries[prefix]
		delete(kernel.entries, prefix)
		u.AddRetired([]maps.Entry{removed})
		u.Follow(policy.Plan{Removed: []policy.Entry{entry}}, false, now)
		kernel.entries[prefix] = maps.Entry{Prefix: prefix}
		if !back {
			u.Follow(policy.Plan{Added: []policy.Entry{{Prefix: netip.MustParsePrefix("198.51.100.1/32")}}}, false, now)
		}
		u.Follow(policy.Plan{Added: []policy.Entry{entry}}, back, now)
		got, err := u.Reader().Of([]netip.Prefix{prefix}, nil)
		want := map[bool]uint64{true: 7}[back]
		if err != nil || got[0].Hits != want || got[0].LastSeen.IsZero() == back {
			t.Errorf("back %v: used %+v (%v), want %d hits", back, got, err, want)
		}
	}
}
