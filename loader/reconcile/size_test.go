package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/verbs"
)

// Promise: size costs no time. A change of one among a million entries takes
// about as long as one among a thousand, and a start over a gate that is up little more
// than to read what is stored. Ratios within this run, medians of many; to a reading,
// the slowest of those before and after: the machine's moods last seconds.
func TestSize(t *testing.T) {
	small, large := newGate(t, 1000), newGate(t, 1_000_000)
	var reading time.Duration
	for _, g := range []*gate{small, large} {
		boot := g.start()
		g.stop()
		reading = g.read()
		again := g.start()
		g.stop()
		reading = max(reading, g.read())
		again = min(again, g.start()) // the better of two: something else may run during one
		t.Logf("%d entries: start after a reboot %v, over a gate that is up %v, to read the database %v, %d MiB resident in this process",
			g.entries, boot, again, reading, resident(t))
		if g == large && again > 20*reading {
			t.Errorf("a start takes %v, which is more than 20 times the %v of one reading", again, reading)
		}
	}
	for _, g := range []*gate{small, large} {
		g.addStopped()
	}
	var adds, removes, audits, suspends [2][]time.Duration
	for i := range 60 {
		for j, g := range []*gate{small, large} {
			prefix := fmt.Sprintf("203.0.113.%d", i)
			adds[j] = append(adds[j], g.add(prefix))
			removes[j] = append(removes[j], g.remove(prefix))
			audits[j] = append(audits[j], g.takes(mode(policy.Audit, "15m")))
			g.takes(mode(policy.Enforce, ""))
			suspends[j] = append(suspends[j], g.takes(suspend))
			g.takes(resume)
		}
	}
	for verb, took := range map[string][2][]time.Duration{"add": adds, "remove": removes, "mode audit": audits, "suspend of 200": suspends} {
		few, many := median(took[0]), median(took[1])
		t.Logf("%s: %v into a thousand, %v into a million, at most %v; %d MiB resident", verb, few, many, slices.Max(took[1]), resident(t))
		if many > 3*few {
			t.Errorf("%s among a million takes %v, which is more than 3 times the %v among a thousand", verb, many, few)
		}
	}
	begin := time.Now()
	if err := large.engine.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	large.knows("203.0.113.200")
	large.stop()
	reading = max(reading, large.read())
	t.Logf("a checkpoint of a million, of which none was seen: %v, to read the database %v", took, reading)
	if took > 20*reading {
		t.Errorf("a checkpoint takes %v, which is more than 20 times the %v of one reading of the database", took, reading)
	}
}

// gate is a host with an engine over a state of many entries.
type gate struct {
	*testing.T
	entries int
	lab     *netlab.Lab
	options reconcile.Options
	engine  *verbs.Engine
}

func newGate(t *testing.T, entries int) *gate {
	t.Helper()
	dir := labtest.Must(os.MkdirTemp("", "xdpallow-size-"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	services := labtest.Must(policy.NewServices([]policy.Service{{
		Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 8443}}, Mode: policy.Enforce, Scope: policy.ScopeSYN,
	}}))(t)
	g := &gate{T: t, entries: entries, lab: labtest.New(t), options: reconcile.Options{
		Sources:    declared.Sources{Services: services, Backstop: "off", Log: slog.New(slog.DiscardHandler)},
		Interfaces: []string{"eth0"}, Attach: loader.Auto,
		State: t.TempDir(), Root: filepath.Join(dir, "root"),
	}}
	claims := make([]policy.Claim, entries)
	for i := range uint32(entries) {
		n := i * 2654435761 // spreads over the bits, and never repeats
		claims[i] = policy.Claim{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(n>>30), byte(n >> 16), byte(n >> 8), byte(n)}), 32),
			Owner:  fmt.Sprintf("acme-%d", i%1000), Origin: policy.OriginCLI,
		}
	}
	kept := labtest.Must(store.Open(g.options.State))(t)
	defer kept.Close()
	if err := kept.Apply(store.Change{Put: claims, Generation: 1}); err != nil {
		t.Fatal(err)
	}
	// As after a reboot: the list is there, the kernel has nothing.
	if err := kept.SaveEffective(store.Effective{Generation: 1, Services: services}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	return g
}

// start opens the engine and puts the gate up, or adopts it.
func (g *gate) start() time.Duration {
	g.Helper()
	begin := time.Now()
	if err := g.lab.Host.Do(func() (err error) {
		if g.engine, err = verbs.Open(g.options); err != nil {
			return err
		}
		return g.engine.Start(context.Background())
	}); err != nil {
		g.Fatal(err)
	}
	took := time.Since(begin)
	if status := labtest.Must(g.engine.Snapshot(context.Background()))(g.T); status.Entries+status.Ended != g.entries {
		g.Fatalf("%d entries and %d that have ended, want %d", status.Entries, status.Ended, g.entries)
	}
	return took
}

// reader opens what is pinned; the test closes it.
func (g *gate) reader() (reader *loader.Gate) {
	g.Helper()
	if err := g.lab.Host.Do(func() (err error) {
		reader, err = loader.OpenReader(g.options.Root)
		return err
	}); err != nil {
		g.Fatal(err)
	}
	return reader
}

func (g *gate) stop() {
	g.Helper()
	if g.engine == nil {
		return
	}
	if err := g.engine.Close(); err != nil {
		g.Error(err)
	}
	g.engine = nil
	// What the CLI made has followed into the list, at the latest now.
	kept := labtest.Must(store.OpenReadOnly(g.options.State))(g.T)
	defer kept.Close()
	list := labtest.Must(store.LoadDeclared(g.options.State))(g.T)
	if want := labtest.Must(kept.Generation())(g.T); list.Generation != want {
		g.Errorf("the effective list is of generation %d, the database of %d", list.Generation, want)
	}
}

// read reads the database as a start must, and no more.
func (g *gate) read() time.Duration {
	g.Helper()
	begin := time.Now()
	kept := labtest.Must(store.OpenReadOnly(g.options.State))(g.T)
	defer kept.Close()
	if claims := labtest.Must(kept.Claims(policy.OriginCLI))(g.T); len(claims) != g.entries {
		g.Fatalf("%d claims are stored, want %d", len(claims), g.entries)
	}
	return time.Since(begin)
}

func (g *gate) add(prefix string) time.Duration {
	g.Helper()
	begin := time.Now()
	listing := labtest.Must(g.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{prefix}, Owner: "globex"}))(g.T)
	took := time.Since(begin)
	if listing.Total != g.entries+1 || len(listing.Entries) != 1 {
		g.Fatalf("after add: %+v", listing)
	}
	return took
}

func (g *gate) takes(change func(*gate) error) (took time.Duration) {
	g.Helper()
	if err := g.lab.Host.Do(func() error {
		begin := time.Now()
		defer func() { took = time.Since(begin) }()
		return change(g)
	}); err != nil {
		g.Fatal(err)
	}
	return took
}

func (g *gate) remove(prefix string) time.Duration {
	g.Helper()
	begin := time.Now()
	listing := labtest.Must(g.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{prefix}}))(g.T)
	took := time.Since(begin)
	if listing.Total != g.entries || len(listing.Entries) != 1 {
		g.Fatalf("after remove: %+v", listing)
	}
	return took
}

// knows expects that what is quick is also done: in the kernel, and for the next start.
func (g *gate) knows(prefix string) {
	g.Helper()
	g.add(prefix)
	addr := netip.MustParseAddr(prefix)
	check := func(want string) {
		g.Helper()
		var got []api.CheckResult
		if err := g.lab.Host.Do(func() (err error) {
			got, err = g.engine.Check(context.Background(), []netip.Addr{addr}, nil)
			return err
		}); err != nil || len(got) != 1 || got[0].Verdict != want {
			g.Fatalf("check %s: %+v, %v, want %s", addr, got, err, want)
		}
	}
	check("pass")
	g.stop()
	g.entries++
	g.start()
	check("pass")
	g.entries--
	g.remove(prefix)
	check("drop")
}

func median(took []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[len(sorted)/2]
}

// resident is the memory of this process, in MiB.
func resident(t *testing.T) int {
	t.Helper()
	for line := range strings.Lines(string(labtest.Must(os.ReadFile("/proc/self/status"))(t))) {
		if kib := 0; strings.HasPrefix(line, "VmRSS:") {
			_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &kib)
			return kib >> 10
		}
	}
	return 0
}
