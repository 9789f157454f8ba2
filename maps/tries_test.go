// The kernel's answer is that of the model, for any list and any change to it:
// the promises of 0 leaks and 0 false drops, as far as they hang on the tries.
package maps_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// probed are the services that random entries name: both ends of the mask and two
// between. The last only audits.
var probed = []int{1, 2, 17, maps.MaxServices}

func portOf(service int) uint16 { return uint16(1000 + service) }

func thirtyOneServices() []maps.Service {
	services := make([]maps.Service, maps.MaxServices)
	for i := range services {
		ports := []uint16{portOf(i + 1)}
		services[i] = maps.Service{TCP: ports, UDP: ports, Enforce: i+1 != maps.MaxServices}
	}
	return services
}

// compare asks the shadow program about source, for every probed service and for none.
func compare(t *testing.T, shadow mapstest.Program, m *model, source netip.Addr, now uint64) {
	t.Helper()
	check := func(what string, frame mapstest.Frame, want maps.Answer) {
		t.Helper()
		if got := maps.AnswerOf(shadow.Run(t, frame.Bytes())); got != want {
			t.Errorf("%v, %s: %v, want %v\ncovering: %s", source, what, got, want, covering(m, source))
		}
	}
	for _, n := range probed {
		tcp := mapstest.Opening(source, portOf(n))
		udp := tcp
		udp.UDP = true
		check(fmt.Sprintf("tcp of service %d", n), tcp, m.opening(source, n, now))
		check(fmt.Sprintf("udp of service %d", n), udp, m.opening(source, n, now))
	}
	check("fragment", mapstest.Frame{Source: source, Port: portOf(1), Fragment: 3}, m.fragment(source, now))
}

func covering(m *model, source netip.Addr) string {
	var text string
	for _, e := range m.trie.Supernets(netip.PrefixFrom(source, source.BitLen())) {
		text += fmt.Sprintf("\n\t%v services %#x expires %d suspended %v", e.Prefix, e.Services, e.Expires, e.Suspended)
	}
	return text
}

func randomModel(r *rand.Rand, entries int, now uint64) *model {
	m := newModel(thirtyOneServices())
	var prefixes []netip.Prefix
	for range entries {
		p := randomPrefix(r, prefixes)
		prefixes = append(prefixes, p)
		m.put(randomEntry(r, p, now))
	}
	return m
}

func TestTriesAgreeWithTheModel(t *testing.T) {
	r, now := newRand(t), boottime(t)
	tables := mapstest.Tables(t, policyOf(1))
	shadow := mapstest.Load(t, tables, true)
	said := map[maps.Reason]int{}
	for i, size := range []int{0, 1, 2, 10, 40, 160, 640} {
		m := randomModel(r, size, now)
		mapstest.Publish(t, tables, m.policy(uint64(i+2)))
		sources := []netip.Addr{
			addr("0.0.0.0"), addr("255.255.255.255"), addr("::"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
			addr("::ffff:10.0.0.1"), randomAddr(r, true), randomAddr(r, false),
		}
		for _, p := range m.prefixes() {
			sources = append(append(sources, edges(p)...), flipTail(r, p.Addr()))
		}
		for _, source := range sources {
			compare(t, shadow, m, source, now)
			for _, n := range probed {
				said[m.opening(source, n, now).Reason]++
			}
		}
	}
	// A generator that never leads to one of these proves nothing about it.
	for _, reason := range []maps.Reason{maps.Listed, maps.NotListed, maps.Expired, maps.WrongService, maps.Suspended} {
		if said[reason] == 0 {
			t.Errorf("no source was %v: %v", reason, said)
		}
	}
}

// The longest chain there can be, of which only the last entry grants: a bound of
// the walk that is one too short would cut this source off.
func TestEveryLengthCovers(t *testing.T) {
	now := boottime(t)
	tables := mapstest.Tables(t, policyOf(1))
	shadow := mapstest.Load(t, tables, true)
	for i, text := range []string{"203.0.113.77", "2001:db8:1:2:3:4:5:6"} {
		source := addr(text)
		for last, want := range map[maps.Entry]maps.Reason{
			{Services: maps.EveryService}:                  maps.Listed,
			{Services: maps.EveryService, Suspended: true}: maps.Suspended,
			{Services: maps.ServiceBit(2)}:                 maps.Expired,
		} {
			m := newModel(thirtyOneServices())
			for bits := 1; bits <= source.BitLen(); bits++ {
				p := netip.PrefixFrom(source, bits).Masked()
				m.put(maps.Entry{Prefix: p, Services: maps.EveryService, Expires: 1, Suspended: bits%2 == 0})
			}
			last.Prefix = netip.PrefixFrom(source, 0).Masked()
			m.put(last)
			mapstest.Publish(t, tables, m.policy(uint64(i+2)))
			compare(t, shadow, m, source, now)
			if got := m.opening(source, 1, now).Reason; got != want {
				t.Errorf("%v: the model says %v, want %v", source, got, want)
			}
		}
	}
}

// randomPatch puts and removes a few prefixes; often one, sometimes some that cover
// each other.
func randomPatch(r *rand.Rand, m *model, now uint64) (put []maps.Entry, remove []netip.Prefix) {
	there := m.prefixes()
	for range 1 + r.IntN(3) {
		switch p := there[r.IntN(len(there))]; r.IntN(3) {
		case 0:
			remove = append(remove, p)
		case 1:
			put = append(put, randomEntry(r, p, now))
		default:
			put = append(put, randomEntry(r, randomPrefix(r, there), now))
		}
	}
	return put, remove
}

// anyWide reports whether a prefix would set more bits of the prefilter than a patch
// does one by one, where the list is not so dense that there is none.
func anyWide(put []maps.Entry) bool {
	return slices.ContainsFunc(put, func(e maps.Entry) bool {
		if e.Prefix.Addr().Is4() {
			return e.Prefix.Bits() <= 12
		}
		return e.Prefix.Bits() <= 20
	})
}

func TestPatchesAgreeWithTheModel(t *testing.T) {
	r, now := newRand(t), boottime(t)
	m := randomModel(r, 100, now)
	tables := mapstest.Tables(t, m.policy(1))
	shadow := mapstest.Load(t, tables, true)
	var patched, refused int
	for generation := uint64(2); generation < 400; generation++ {
		put, remove := randomPatch(r, m, now)
		var touched []netip.Prefix
		for _, e := range put {
			touched = append(touched, e.Prefix)
		}
		touched = append(touched, remove...)
		_, err := tables.Patch(put, remove, generation)
		no := errors.Is(err, maps.ErrPatch)
		must, may := anyOverlap(touched), anyWide(put)
		if must && !no || no && !must && !may || err != nil && !no {
			t.Fatalf("patch of %v: %v", touched, err)
		} else if no {
			refused++
		} else {
			patched++
			for _, e := range put {
				m.put(e)
			}
			for _, p := range remove {
				m.remove(p)
			}
		}
		for _, p := range touched {
			for _, source := range edges(p) {
				compare(t, shadow, m, source, now)
			}
			compare(t, shadow, m, flipTail(r, p.Addr()), now)
		}
		if generation%20 == 0 {
			compareEntries(t, tables, m)
		}
	}
	compareEntries(t, tables, m)
	if patched < 100 || refused < 5 {
		t.Errorf("%d patched, %d refused: too few to tell", patched, refused)
	}
}

func anyOverlap(prefixes []netip.Prefix) bool {
	for i, p := range prefixes {
		if slices.ContainsFunc(prefixes[i+1:], p.Overlaps) {
			return true
		}
	}
	return false
}

// compareEntries holds what user space reads back against the model.
func compareEntries(t *testing.T, tables *maps.Tables, m *model) {
	t.Helper()
	got := map[netip.Prefix]maps.Entry{}
	for _, e := range liveEntries(t, tables) {
		got[e.Prefix] = e
	}
	if diff := cmp.Diff(m.entries, got, comparePrefixes); diff != "" {
		t.Errorf("entries (-want +got)\n%s", diff)
	}
}
