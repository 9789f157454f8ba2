// This file tears the writes of the database, as a host that loses power does.

package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Promise: of a transaction that was torn at any byte, on the way to its pages in
// any order or to the page that says it was made, everything or nothing is read:
// entries, suspensions, limits, what takes the change back, what waits and the
// record for the log.
func TestTornDatabase(t *testing.T) {
	random := testRand(t)
	dir := t.TempDir()
	s := mustOpen(t, dir)
	path := filepath.Join(dir, dbName)
	for generation := range uint64(3) {
		if err := applyConfirmed(s, generation+1); err != nil {
			t.Fatal(err)
		}
	}
	before, old := mustRead(t, path), dump(t, s)
	if err := applyConfirmed(s, 4); err != nil {
		t.Fatal(err)
	}
	after, made := mustRead(t, path), dump(t, s)
	pageSize := s.db.Info().PageSize
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(before) != len(after) || cmp.Equal(old, made) {
		t.Fatalf("the file went from %d to %d bytes; the test needs one size and two states", len(before), len(after))
	}
	torn := func(what string, content []byte, want map[string]string) {
		t.Helper()
		mustWrite(t, path, content)
		s, err := OpenReadOnly(dir)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer s.Close()
		if diff := cmp.Diff(want, dump(t, s)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
	metas := 2 * pageSize // bbolt writes all other pages first, then one of these
	for n := metas; n < len(after); n++ {
		if before[n] != after[n] {
			torn(fmt.Sprintf("pages up to byte %d", n), append(append(bytes.Clone(before[:metas]), after[metas:n+1]...), before[n+1:]...), old)
		}
	}
	for range 200 {
		torn("pages in any order", anyPages(random, before, after, metas, pageSize), old)
	}
	for n := range metas {
		if before[n] == after[n] {
			continue
		}
		content := append(bytes.Clone(after[:n]), before[n:metas]...)
		torn(fmt.Sprintf("the last page up to byte %d", n), append(content, after[metas:]...), old)
	}
	torn("whole", after, made)
}

// anyPages is before with some of the pages of after.
func anyPages(random *rand.Rand, before, after []byte, metas, pageSize int) []byte {
	content := bytes.Clone(before)
	for at := metas; at < len(content); at += pageSize {
		if random.IntN(2) == 0 {
			copy(content[at:at+pageSize], after[at:])
		}
	}
	return content
}
