// A publish happens or it does not: what the kernel refuses, or pretends to have
// done, leaves the old policy judging, and nothing behind.
package maps_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// oldPolicy lists 192.0.2.0/24 and 2001:db8:1::/48, newPolicy other prefixes.
func oldPolicy() maps.Policy { return policyOf(7, "192.0.2.0/24", "2001:db8:1::/48") }

func newPolicy() maps.Policy {
	policy := policyOf(8, "2001:db8:2::/48")
	for i := range 100 {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24)
		policy.Entries = append(policy.Entries, maps.Entry{Prefix: prefix, Services: maps.EveryService})
	}
	return policy
}

// state is all that a failed publish must leave as it was.
type state struct {
	Generation uint64
	Entries    []maps.Entry
	Pins       map[string]ebpf.MapID
	Judged     []maps.Reason
}

func stateOf(t *testing.T, tables *maps.Tables, pins mapstest.Pins, shadow mapstest.Program) state {
	t.Helper()
	s := state{Generation: tables.Generation(), Entries: liveEntries(t, tables), Pins: map[string]ebpf.MapID{}}
	for name, m := range pins {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		s.Pins[name], _ = info.ID()
	}
	for _, source := range []string{"192.0.2.1", "10.5.0.1", "2001:db8:1::1", "2001:db8:2::1"} {
		s.Judged = append(s.Judged, ask(t, shadow, source))
	}
	return s
}

// unchanged runs change, which must fail, and compares.
func unchanged(t *testing.T, change func(tables *maps.Tables, pins mapstest.Pins) error) {
	t.Helper()
	tables, pins := open(t, oldPolicy())
	shadow := mapstest.Load(t, tables, true)
	before := stateOf(t, tables, pins, shadow)
	if want := []maps.Reason{maps.Listed, maps.NotListed, maps.Listed, maps.NotListed}; !slices.Equal(before.Judged, want) {
		t.Fatalf("judged %v", before.Judged)
	}
	if err := change(tables, pins); err == nil {
		t.Error("no error")
	}
	if diff := cmp.Diff(before, stateOf(t, tables, pins, shadow), comparePrefixes); diff != "" {
		t.Errorf("something changed (-before +after)\n%s", diff)
	}
	// The next daemon finds the same.
	if next := reopen(t, pins); next.Stale() || next.Generation() != before.Generation {
		t.Errorf("reopened: stale %v, generation %d", next.Stale(), next.Generation())
	}
}

// part is the first n of a slice that the type system does not know.
func part(slice any, n int) any { return reflect.ValueOf(slice).Slice(0, n).Interface() }

type batch = func(*ebpf.Map, any, any) (int, error)

func TestPublishSurvivesBrokenBatches(t *testing.T) {
	for name, do := range map[string]func(batch, *ebpf.Map, any, any) (int, error){
		"partial, ENOMEM": func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
			n, err := kernel(m, part(keys, 1), part(values, 1))
			return n, errors.Join(err, unix.ENOMEM)
		},
		"partial, none reported": func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
			_, err := kernel(m, part(keys, 1), part(values, 1))
			return 0, errors.Join(err, unix.ENOMEM)
		},
		"nothing, not supported": func(batch, *ebpf.Map, any, any) (int, error) { return 0, ebpf.ErrNotSupported },
	} {
		t.Run(name, func(t *testing.T) {
			tables, _ := open(t, oldPolicy())
			shadow := mapstest.Load(t, tables, true)
			broken := 0
			maps.WithBatchUpdate(t, func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
				broken++
				return do(kernel, m, keys, values)
			})
			mapstest.Publish(t, tables, newPolicy())
			if broken != 2 {
				t.Fatalf("%d batches were broken", broken)
			}
			if got := len(liveEntries(t, tables)); got != 101 {
				t.Errorf("%d entries", got)
			}
			for source, want := range map[string]maps.Reason{
				"10.0.0.1": maps.Listed, "10.99.0.1": maps.Listed, "2001:db8:2::1": maps.Listed, "192.0.2.1": maps.NotListed,
			} {
				if got := ask(t, shadow, source); got != want {
					t.Errorf("%s: %v, want %v", source, got, want)
				}
			}
		})
	}
}

func TestUnprovenPublishChangesNothing(t *testing.T) {
	ipv6 := func(m *ebpf.Map) bool { return m.KeySize() == 20 }
	for name, do := range map[string]func(batch, *ebpf.Map, any, any) (int, error){
		"claims all, put one less": func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
			n := reflect.ValueOf(keys).Len()
			if n > 1 {
				_, err := kernel(m, part(keys, n-1), part(values, n-1))
				return n, err
			}
			return n, nil
		},
		"ENOMEM, claims more than was put": func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
			return reflect.ValueOf(keys).Len() + 5, unix.ENOMEM
		},
		"puts another value": func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
			field := reflect.ValueOf(values).Index(0).FieldByName("Services")
			field.SetUint(field.Uint() ^ 1<<9)
			return kernel(m, keys, values)
		},
		"only IPv6 fails": func(kernel batch, m *ebpf.Map, keys, values any) (int, error) {
			if ipv6(m) {
				return reflect.ValueOf(keys).Len(), nil
			}
			return kernel(m, keys, values)
		},
	} {
		t.Run(name, func(t *testing.T) {
			unchanged(t, func(tables *maps.Tables, _ mapstest.Pins) error {
				maps.WithBatchUpdate(t, do)
				_, err := tables.Publish(newPolicy())
				return err
			})
		})
	}
}

// brokenPins fails to pin one name.
type brokenPins struct {
	mapstest.Pins
	fails func(name string) bool
}

func (p brokenPins) Pin(name string, m *ebpf.Map) error {
	if p.fails(name) {
		return unix.ENOSPC
	}
	return p.Pins.Pin(name, m)
}

func TestUnpinnedPublishChangesNothing(t *testing.T) {
	for _, family := range []string{"allow4", "allow6"} {
		t.Run(family, func(t *testing.T) {
			unchanged(t, func(_ *maps.Tables, pins mapstest.Pins) error {
				broken := reopen(t, brokenPins{pins, func(name string) bool { return strings.HasPrefix(name, family) }})
				_, err := broken.Publish(newPolicy())
				if !errors.Is(err, unix.ENOSPC) {
					t.Errorf("error %v", err)
				}
				return err
			})
		})
	}
}

func TestRefusedInputChangesNothing(t *testing.T) {
	host := netip.MustParsePrefix("192.0.2.1/24")
	mapped := netip.MustParsePrefix("::ffff:192.0.2.0/120")
	list := func(prefixes ...netip.Prefix) []maps.Entry {
		entries := entriesOf("10.0.0.0/8")
		for _, p := range prefixes {
			entries = append(entries, maps.Entry{Prefix: p, Services: maps.EveryService})
		}
		return entries
	}
	publish := func(change func(*maps.Policy)) func(*maps.Tables) error {
		return func(tables *maps.Tables) error {
			policy := newPolicy()
			change(&policy)
			_, err := tables.Publish(policy)
			return err
		}
	}
	patch := func(put []maps.Entry, remove ...netip.Prefix) func(*maps.Tables) error {
		return func(tables *maps.Tables) error {
			_, err := tables.Patch(put, remove, 8)
			return err
		}
	}
	for name, change := range map[string]func(*maps.Tables) error{
		"publish host bits": publish(func(p *maps.Policy) { p.Entries = list(host) }),
		"publish v4-mapped": publish(func(p *maps.Policy) { p.Entries = list(mapped) }),
		"publish no prefix": publish(func(p *maps.Policy) { p.Entries = list(netip.Prefix{}) }),
		"publish a prefix twice": publish(func(p *maps.Policy) {
			p.Entries = list(netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("10.0.0.0/8"))
		}),
		"publish a port twice": publish(func(p *maps.Policy) {
			p.Services = []maps.Service{{TCP: []uint16{1, 2}}, {UDP: []uint16{1}, TCP: []uint16{2}}}
		}),
		"publish 32 services": publish(func(p *maps.Policy) { p.Services = make([]maps.Service, 32) }),
		"patch in host bits":  patch(list(host)),
		"patch in v4-mapped":  patch(list(mapped)),
		"patch out host bits": patch(list(), host),
		"patch in and out":    patch(list(), netip.MustParsePrefix("10.0.0.0/8")),
	} {
		t.Run(name, func(t *testing.T) {
			unchanged(t, func(tables *maps.Tables, _ mapstest.Pins) error { return change(tables) })
		})
	}
}

// The same number for TCP and for UDP is two ports, and 31 named services are every
// service there is.
func TestNotRefused(t *testing.T) {
	policy := policyOf(1)
	policy.Services = make([]maps.Service, maps.MaxServices)
	policy.Services[0].TCP, policy.Services[1].UDP = []uint16{port}, []uint16{port}
	policy.Entries = []maps.Entry{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Services: maps.EveryService &^ 1}}
	shadow := mapstest.Load(t, mapstest.Tables(t, policy), true)
	if got := ask(t, shadow, "192.0.2.1"); got != maps.Listed {
		t.Errorf("of every service by name: %v", got)
	}
}

func TestRetryOnlyForMemory(t *testing.T) {
	for err, want := range map[error]int{nil: 1, unix.E2BIG: 1, fmt.Errorf("put: %w", unix.ENOMEM): 3} {
		calls := 0
		got := maps.Retry(func() error {
			if calls++; calls == 3 {
				return nil
			}
			return err
		})
		if calls != want || want == 1 && !errors.Is(got, err) || want == 3 && got != nil {
			t.Errorf("%v: %d calls, %v", err, calls, got)
		}
	}
}
