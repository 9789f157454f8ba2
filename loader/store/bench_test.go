// This file measures the store at a million entries, once in a test run where
// asked: go test -bench . -benchtime 1x ./loader/store

package store

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const million = 1_000_000

func manyClaims() []policy.Claim {
	claims := make([]policy.Claim, million)
	for i := range claims {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		claims[i] = policy.Claim{
			Prefix: netip.PrefixFrom(addr, 32), Owner: fmt.Sprintf("owner%d", i%100), Services: []string{"api"},
			Note: "office", Origin: policy.OriginCLI, Where: fmt.Sprintf("allow.d/acme.list:%d", i),
		}
	}
	return claims
}

func BenchmarkMillion(b *testing.B) {
	claims := manyClaims()
	dir := b.TempDir()
	s := mustOpen(b, dir)
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			mustApply(b, s, Change{Put: claims, Generation: 1})
		}
	})
	b.Run("claims", func(b *testing.B) {
		for b.Loop() {
			if got, err := s.Claims(policy.OriginCLI); err != nil || len(got) != million {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("apply one", func(b *testing.B) {
		for b.Loop() {
			mustApply(b, s, Change{Put: claims[:1], Generation: 2})
		}
	})
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			mustSave(b, s, Effective{Generation: 1, Claims: pointers(claims)})
		}
	})
	b.Run("load declared", func(b *testing.B) {
		for b.Loop() {
			if e, err := LoadDeclared(dir); err != nil || len(e.Claims) != 0 {
				b.Fatal(len(e.Claims), err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if e, err := LoadEffective(dir); err != nil || len(e.Claims) != million {
				b.Fatal(len(e.Claims), err)
			}
		}
	})
}
