package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// lists saves the effective lists of generations; each has one claim, which names it.
func lists(t *testing.T, s *Store, generations ...uint64) {
	t.Helper()
	for _, generation := range generations {
		claim := numbered(generation).Put[0]
		claim.Origin = policy.OriginFlag
		if err := s.SaveEffective(Effective{Generation: generation, Claims: []*policy.Claim{&claim}}); err != nil {
			t.Fatal(err)
		}
	}
}

func wantDeclared(t *testing.T, s *Store, want uint64) {
	t.Helper()
	list, err := s.Declared()
	if err != nil || list.Generation != want || len(list.Claims) != 1 || list.Claims[0].Prefix != numbered(want).Put[0].Prefix {
		t.Errorf("declared is generation %d, %v; want %d", list.Generation, err, want)
	}
}

// Promise: a list that was written for a change which was never committed is no list:
// the one before is declared, and stays so after the next that fails likewise.
func TestDeclaredAsCommitted(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	lists(t, s, 1)
	wantDeclared(t, s, 1) // no generation was ever committed: the database was moved aside
	mustApply(t, s, Change{Generation: 1})
	for range 2 {
		lists(t, s, 2)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		reader, err := OpenReadOnly(dir)
		if err != nil {
			t.Fatal(err)
		}
		wantDeclared(t, reader, 1)
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
		if list, err := LoadEffective(dir); err != nil || list.Generation != 2 {
			t.Errorf("who only reads has changed the list: generation %d, %v", list.Generation, err)
		}
		s = mustOpen(t, dir)
		wantDeclared(t, s, 1)
		if list, err := LoadEffective(dir); err != nil || list.Generation != 1 {
			t.Errorf("the list was not put back: generation %d, %v", list.Generation, err)
		}
	}
	lists(t, s, 2)
	mustApply(t, s, Change{Generation: 2})
	wantDeclared(t, s, 2)
	lists(t, s, 3, 4)
	wantDeclared(t, s, 4) // an older database was put back by hand
}

// Promise: what a change replaced is there for its rollback, however many lists are
// written meanwhile, and takes no room when it can no longer be rolled back.
func TestKeptLists(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for generation := range uint64(3) {
		lists(t, s, 10*generation+1)
		if err := s.ArchiveList(10*generation + 2); err != nil {
			t.Fatal(err)
		}
		lists(t, s, 10*generation+2, 10*generation+3, 10*generation+4)
	}
	for generation := range uint64(3) {
		if list, err := s.LoadArchived(10*generation + 2); err != nil || list.Generation != 10*generation+1 {
			t.Errorf("kept for %d is generation %d, %v", 10*generation+2, list.Generation, err)
		}
	}
	s.PruneArchives(12)
	if _, err := s.LoadArchived(12); err != nil {
		t.Error(err)
	}
	for _, generation := range []uint64{2, 22} {
		if _, err := s.LoadArchived(generation); err == nil {
			t.Errorf("the list of %d was not forgotten", generation)
		}
	}
	if err := os.Truncate(filepath.Join(dir, archiveName(12)), 100); err != nil {
		t.Fatal(err)
	}
	if list, err := s.LoadArchived(12); err == nil {
		t.Errorf("a torn list is used: %+v", list)
	}
}
