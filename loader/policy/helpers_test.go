// This file holds what the tests of this package share.

package policy

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
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

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// diff compares all fields; Entry.Equal would hide some.
func diff(want, got any) string {
	all := cmp.Transformer("fields", func(e Entry) [7]any {
		return [7]any{e.Prefix, e.Owner(), e.Services(), e.Until(), e.Note(), e.Suspended, e.Claims()}
	})
	return cmp.Diff(want, got, all, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

// flatten is every message of a joined error.
func flatten(err error) (messages []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			messages = append(messages, flatten(e)...)
		}
	} else if err != nil {
		messages = append(messages, err.Error())
	}
	return messages
}

// wantRefused checks the kind of an error (exit 1), its text and its hint.
func wantRefused(t *testing.T, err error, what, hint string) {
	t.Helper()
	refused, ok := errors.AsType[*Refused](err)
	if !ok {
		t.Fatalf("error %v is no *Refused", err)
	}
	if refused.What != what || refused.Hint != hint {
		t.Errorf("refused %q with hint %q, want %q with hint %q", refused.What, refused.Hint, what, hint)
	}
}

// wantInput checks the kind of an error (exit 2), its text and its hint.
func wantInput(t *testing.T, err error, message, hint string) {
	t.Helper()
	input, ok := errors.AsType[*InputError](err)
	if !ok {
		t.Fatalf("error %v is no *InputError, want %q", err, message)
	}
	if err.Error() != message || input.Hint != hint {
		t.Errorf("error %q with hint %q, want %q with hint %q", err, input.Hint, message, hint)
	}
}

// nestedPrefix draws from two small corners of the address spaces, so that
// prefixes nest, repeat and touch.
func nestedPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		addr := nestedAddr().Draw(t, "addr")
		low := rapid.IntRange(addr.BitLen()-6, addr.BitLen())
		bits := rapid.OneOf(low, rapid.IntRange(0, addr.BitLen())).Draw(t, "bits")
		p, _ := addr.Prefix(bits)
		return p
	})
}

func nestedAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		last := rapid.ByteRange(0, 63).Draw(t, "last")
		if rapid.Bool().Draw(t, "v6") {
			return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: last})
		}
		return netip.AddrFrom4([4]byte{10, 0, 0, last})
	})
}

// someServices is nil or a sorted list without repetitions.
func someServices() *rapid.Generator[[]string] {
	return rapid.Custom(func(t *rapid.T) []string {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"api", "mail", "q.1"}), 0, 3).Draw(t, "services")
		if len(names) == 0 {
			return nil
		}
		slices.Sort(names)
		return slices.Compact(names)
	})
}

// someUntil is for ever, or an hour around now.
func someUntil() *rapid.Generator[time.Time] {
	hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	return rapid.SampledFrom([]time.Time{{}, hour(-2), hour(-1), now, hour(1), hour(2)})
}

// asClaims makes of each entry the one claim that says the same.
func asClaims(entries []Entry) []Claim {
	var claims []Claim
	for _, e := range entries {
		claims = append(claims, Claim{Prefix: e.Prefix, Owner: e.Owner(), Services: e.Services(), Until: e.Until(), Note: e.Note()})
	}
	return claims
}
