package store

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: a daemon that was killed after a change was in the list's changes, and before it was in
// the database, makes it there at the next start: also one that empties pages of the database and
// puts something into the gap, as any replace may.
func TestKilledBeforeTheDatabase(t *testing.T) {
	addr := func(n int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)
	}
	claims := func(numbers ...int) (put []policy.Claim) {
		for _, n := range numbers {
			put = append(put, policy.Claim{Prefix: addr(n), Origin: policy.OriginCLI})
		}
		return put
	}
	var all []int
	for n := 0; n < 20_000; n += 2 {
		all = append(all, n)
	}
	dir := t.TempDir()
	s := mustOpen(t, dir)
	first := claims(all...)
	mustApply(t, s, Change{Put: first, Generation: 1, List: declaredBy(1, first...), Whole: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir)[dbName]
	s = mustOpen(t, dir)
	var gone []netip.Prefix
	for n := 8_000; n < 12_000; n += 2 {
		gone = append(gone, addr(n))
	}
	mustApply(t, s, Change{Delete: gone, Put: claims(9_501, 10_999, 11_001), Generation: 2})
	said := says(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, dbName), before)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opened := make(chan error, 1)
	go func() {
		var err error
		s, err = Open(dir)
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatal("a start that makes the change again does not end")
	}
	defer s.Close()
	if diff := cmp.Diff(said, says(t, s)); diff != "" {
		t.Errorf("after the start (-want +got):\n%s", diff)
	}
	if err := verifyDB(s.db); err != nil {
		t.Error(err)
	}
}
