package source

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

func claimsOf(texts string) (claims []policy.Claim) {
	for text := range strings.FieldsSeq(texts) {
		claims = append(claims, policy.Claim{Prefix: netip.MustParsePrefix(text)})
	}
	return claims
}

// Promise: what is counted is who could connect: what lies in two prefixes counts once, and a
// network of IPv6 as its /64s, however few addresses of it are named.
func TestCount(t *testing.T) {
	for _, c := range []struct {
		prefixes            string
		addresses, networks uint64
	}{
		{"", 0, 0},
		{"192.0.2.1/32 192.0.2.2/32", 2, 0},
		{"192.0.2.128/25 192.0.2.0/24 192.0.2.1/32 198.51.100.0/31", 258, 0},
		{"0.0.0.0/0 192.0.2.0/24", 1 << 32, 0},
		{"2001:db8::1/128 2001:db8::2/128 2001:db8:0:1::/96", 0, 2},
		{"2001:db8::/48 2001:db8:0:5::/64 2001:db8:1::1/128 192.0.2.0/24", 256, 1<<16 + 1},
		{"::/0 2001:db8::/32", 0, math.MaxUint64},
		{"::/1 8000::/1", 0, math.MaxUint64},
		{"::/2 4000::/2 8000::/2 c000::/2 ", 0, math.MaxUint64},
	} {
		addresses, networks := count(claimsOf(c.prefixes))
		if addresses != c.addresses || networks != c.networks {
			t.Errorf("%s: %d and %d, want %d and %d", c.prefixes, addresses, networks, c.addresses, c.networks)
		}
	}
}

func TestPrivateMayBeLetIn(t *testing.T) {
	limits := URLLimits
	limits.Private, limits.Widest4 = true, 8
	limits.Addresses = math.MaxUint64
	if err := limits.Check("p", claimsOf("10.0.0.0/8 172.16.0.0/12 192.168.1.0/24 100.64.0.0/10 fd00::/48")); err != nil {
		t.Error(err)
	}
	for _, never := range []string{"169.254.0.0/16", "fe80::1/128", "192.0.0.8/32", "64:ff9b::c000:201/128", "240.0.0.1/32", "0.1.0.0/16", "ff02::1/128", "127.0.0.1/32", "::1/128"} {
		if err := limits.Check("p", claimsOf(never)); err == nil {
			t.Errorf("%s is let in", never)
		}
	}
}

// FuzzLimits compares the count with one made address by address.
func FuzzLimits(f *testing.F) {
	f.Add([]byte{0, 24, 1, 32, 128, 25})
	f.Fuzz(func(t *testing.T, text []byte) {
		var claims []policy.Claim
		want4, want6 := map[byte]bool{}, map[byte]bool{}
		for ; len(text) >= 3; text = text[3:] {
			last, length := text[1], 24+int(text[2]%9)
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), length).Masked()
			want, at := want4, 3
			if text[0]%2 == 1 {
				p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: last, 15: last}), 32+length+int(text[0]%8)).Masked()
				want, at = want6, 7
			}
			claims = append(claims, policy.Claim{Prefix: p})
			for i := range 256 {
				addr := p.Addr().AsSlice()
				addr[at] = byte(i)
				if a, _ := netip.AddrFromSlice(addr); p.Contains(a) || p.Bits() > 64 && byte(i) == last {
					want[byte(i)] = true
				}
			}
		}
		addresses, networks := count(claims)
		if addresses != uint64(len(want4)) || networks != uint64(len(want6)) {
			t.Errorf("%v: %d and %d, want %d and %d", claims, addresses, networks, len(want4), len(want6))
		}
	})
}
