// What the tests of this package share: seeds, the clock of deadlines, policies
// of a few lines and one question to a program.
package maps_test

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// newRand logs its seed; TEST_SEED gives the same numbers again.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// boottime is CLOCK_BOOTTIME in ns.
func boottime(t testing.TB) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano())
}

const port = 8443

// policyOf enforces port for TCP and UDP, and has an entry for each prefix.
func policyOf(generation uint64, prefixes ...string) maps.Policy {
	return maps.Policy{
		Generation: generation,
		Services:   []maps.Service{{TCP: []uint16{port}, UDP: []uint16{port}, Enforce: true}},
		Entries:    entriesOf(prefixes...),
	}
}

func entriesOf(prefixes ...string) []maps.Entry {
	entries := make([]maps.Entry, len(prefixes))
	for i, prefix := range prefixes {
		entries[i] = maps.Entry{Prefix: netip.MustParsePrefix(prefix), Services: maps.EveryService}
	}
	return entries
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// ask is a shadow program's reason for an opening from source to port.
func ask(t *testing.T, shadow mapstest.Program, source string) maps.Reason {
	t.Helper()
	return maps.AnswerOf(shadow.Run(t, mapstest.Opening(addr(source), port).Bytes())).Reason
}

// open makes tables that hold policy, on pins that the test can look at.
func open(t *testing.T, policy maps.Policy) (*maps.Tables, mapstest.Pins) {
	t.Helper()
	pins := mapstest.Pins{}
	tables := reopen(t, pins)
	t.Cleanup(func() {
		for name := range pins {
			pins.Unpin(name)
		}
	})
	mapstest.Publish(t, tables, policy)
	return tables, pins
}

// reopen is what the next daemon does.
func reopen(t *testing.T, pins maps.Pins) *maps.Tables {
	t.Helper()
	tables, err := maps.OpenTables(pins)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tables.Close() })
	return tables
}

func liveEntries(t *testing.T, tables *maps.Tables) []maps.Entry {
	t.Helper()
	entries, err := tables.Entries()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// must returns what was made, or fails the test.
func must[T any](made T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return made
	}
}
