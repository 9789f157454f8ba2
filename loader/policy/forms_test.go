package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Promise: a source in the form of another tool is refused, and the hint is what was meant;
// where that cannot be known there is no hint.
func TestOtherForms(t *testing.T) {
	const (
		netmask  = " has a netmask: write its length"
		noMask   = " has a netmask that is no prefix length"
		wildcard = " has wildcards: list its prefix"
		isRange  = " is a range: list its prefixes"
		nothing  = " is not a prefix or an address"
	)
	for _, c := range []struct{ in, what, hint string }{
		{"10.0.0.0/255.255.255.0", netmask, "10.0.0.0/24"},
		{"10.0.0.5/255.255.255.0", netmask, "10.0.0.0/24"}, // with host bits, as in ifconfig
		{"10.0.0.5/255.255.255.255", netmask, "10.0.0.5/32"},
		{"10.0.0.0/0.0.0.255", netmask, "10.0.0.0/24"},
		{"10.0.0.0/128.0.0.0", netmask, "0.0.0.0/1"},
		{"10.0.0.0/255.0.255.0", noMask, ""},
		{"10.0.0.0/0.255.0.255", noMask, ""},
		{"10.0.0.0/0.0.0.0", noMask, ""},
		{"10.0.0.0/255.255.255", nothing, ""},
		{"2001:db8::/255.255.255.0", nothing, ""},
		{"10.0.*.*", wildcard, "10.0.0.0/16"},
		{"10.0.0.*", wildcard, "10.0.0.0/24"},
		{"10.0.*", wildcard, "10.0.0.0/16"},
		{"10.*", wildcard, "10.0.0.0/8"},
		{"2001:db8:*", wildcard, "2001:db8::/32"},
		{"2001:db8:0:42:*:*:*:*", wildcard, "2001:db8:0:42::/64"},
		{"10.*.0.*", nothing, ""},
		{"*.0.0.1", nothing, ""},
		{"*", nothing, ""},
		{"*.*.*.*", nothing, ""},
		{"10.0.0.0.*", nothing, ""},
		{"10.0.0.1*", nothing, ""},
		{"2001:db8::*", nothing, ""},
		{"10.0.0.5-10.0.0.9", isRange, "10.0.0.5/32 10.0.0.6/31 10.0.0.8/31"},
		{"10.0.0.0-10.0.0.255", isRange, "10.0.0.0/24"},
		{"10.0.0.0-255", isRange, "10.0.0.0/24"},
		{"10.0.0.7-10.0.0.7", isRange, "10.0.0.7/32"},
		{"2001:db8::-2001:db8::ffff", isRange, "2001:db8::/112"},
		{"0.0.0.0-255.255.255.255", isRange, "0.0.0.0/0"},
		{"10.0.0.9-10.0.0.5", " is a range that ends before it begins", ""},
		{"::1:1-2001:db8::", isRange + ", of which there are 133", ""},
		{"10.0.0.1-2001:db8::", nothing, ""},
		{"10.0.0.1-256", nothing, ""},
		{"10.0.0.1-acme", nothing, ""},
	} {
		t.Run(c.in, func(t *testing.T) {
			_, _, err := ParsePrefix(c.in)
			wantInput(t, err, `"`+c.in+`"`+c.what, c.hint)
		})
	}
	// What a hint would list is refused for a reason of its own.
	_, _, err := ParsePrefix("127.0.0.1-127.0.0.8")
	wantInput(t, err, "127.0.0.1/32 is this host itself: its own clients always connect and need no entry", "")
	_, _, err = ParsePrefix("127.0.0.0/255.0.0.0")
	wantInput(t, err, "127.0.0.0/8 is this host itself: its own clients always connect and need no entry", "")
}

// Promise: the prefixes of a range hold every address of it and no other, each once, and no
// fewer prefixes could: pasted, they let in who was meant.
func TestCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.OneOf(nestedAddr(), anyAddr()).Draw(t, "first")
		last := rapid.OneOf(nestedAddr(), anyAddr()).Filter(func(a netip.Addr) bool { return a.Is4() == first.Is4() }).Draw(t, "last")
		if last.Less(first) {
			first, last = last, first
		}
		next := first
		prefixes := cover(first, last)
		for i, p := range prefixes {
			if p != p.Masked() || p.Addr() != next {
				t.Fatalf("%v-%v is %v: %v does not begin at %v", first, last, prefixes, p, next)
			}
			next = lastOf(p).Next()
			if i > 0 && p.Bits() == prefixes[i-1].Bits() {
				if whole := netip.PrefixFrom(prefixes[i-1].Addr(), p.Bits()-1).Masked(); whole.Addr() == prefixes[i-1].Addr() {
					t.Fatalf("%v-%v is %v: %v would do for two", first, last, prefixes, whole)
				}
			}
		}
		if next != last.Next() {
			t.Fatalf("%v-%v is %v, which ends before %v", first, last, prefixes, next)
		}
	})
}

func anyAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "v6") {
			b = append(b, rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "more")...)
		}
		addr, _ := netip.AddrFromSlice(b)
		return addr
	})
}

// Whatever somebody pastes, a hint can be pasted: each of its prefixes is accepted as it is.
func FuzzParsePrefix(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.0/8", "10.0.0.5/8", "10.0.0.0/255.255.0.0", "10.0.0.0/0.0.0.255", "10.0.*.*", "2001:db8:*", "10.0.0.5-10.0.0.9", "10.0.0.5-9",
		"::-ffff:ffff::", "fe80::1%eth0-fe80::2", "*", "-", "/", "127.0.0.1", "::ffff:10.0.0.0/104", "255.255.255.255-255.255.255.255",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, _, err := ParsePrefix(s)
		if err == nil {
			if again, warning, err := ParsePrefix(p.String()); again != p || warning != "" || err != nil {
				t.Fatalf("%q is %v, which is read as %v, %q, %v", s, p, again, warning, err)
			}
			return
		}
		input, ok := errors.AsType[*InputError](err)
		if !ok || p.IsValid() {
			t.Fatalf("%q is refused with %v, %v", s, p, err)
		}
		if strings.Contains(input.What, "a range") || strings.Contains(input.What, "netmask") || strings.Contains(input.What, "wildcards") {
			for _, hint := range strings.Fields(input.Hint) {
				if _, warning, err := ParsePrefix(hint); warning != "" || err != nil {
					t.Fatalf("%q has the hint %q, in which %q is refused: %v", s, input.Hint, hint, err)
				}
			}
		}
	})
}
