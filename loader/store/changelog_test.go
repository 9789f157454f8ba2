// This file holds the change log to "neither lost nor invented": whatever happens
// to the file, each change that was made is there once.

package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logged applies change number n, whose record has lines.
func logged(tb testing.TB, s *Store, n uint64) {
	tb.Helper()
	mustApply(tb, s, Change{Generation: n, Log: &Record{
		Time: time.Unix(int64(n), 7), UID: 1000, PID: 77, Command: fmt.Sprintf("add 10.%d.0.0/16 --note \"<é>\"", n),
		Reason: "OPS-1", Added: []string{fmt.Sprintf("10.%d.0.0/16 owner=acme # note", n)},
	}})
}

// sequences is what Changes yields.
func sequences(tb testing.TB, s *Store, order Order) (all []uint64) {
	tb.Helper()
	for record, err := range s.Changes(order) {
		if err != nil {
			tb.Fatalf("read the change log: %v", err)
		}
		all = append(all, record.Sequence)
	}
	return all
}

// checkSequences wants records 1 to last, once each and in their order.
func checkSequences(tb testing.TB, what string, s *Store, last uint64) {
	tb.Helper()
	if got := checkEach(tb, what, s, last); !slices.IsSorted(got) {
		tb.Fatalf("%s: out of order: %v", what, got)
	}
}

// checkEach wants records 1 to last, once each, the one order the reverse of the
// other.
func checkEach(tb testing.TB, what string, s *Store, last uint64) []uint64 {
	tb.Helper()
	up, down := sequences(tb, s, OldestFirst), sequences(tb, s, NewestFirst)
	slices.Reverse(down)
	var want []uint64
	for n := range last {
		want = append(want, n+1)
	}
	if diff := cmp.Diff(up, down) + cmp.Diff(want, slices.Sorted(slices.Values(up))); diff != "" {
		tb.Fatalf("%s (-want +got):\n%s", what, diff)
	}
	return up
}

func mustWrite(tb testing.TB, path string, content []byte) {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func mustRead(tb testing.TB, path string) []byte {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func TestRecordIsLogged(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if _, found, err := s.LastRecord(); found || err != nil {
		t.Fatalf("before any: %v, %v", found, err)
	}
	checkSequences(t, "before any", s, 0)
	mustApply(t, s, Change{Generation: 4})
	logged(t, s, 5)
	want := Record{
		Sequence: 1, Time: time.Unix(5, 7).UTC(), UID: 1000, PID: 77, Command: "add 10.5.0.0/16 --note \"<é>\"", Reason: "OPS-1",
		Before: 4, After: 5, Added: []string{"10.5.0.0/16 owner=acme # note"}, Removed: []string{}, Changed: []string{}, AddedCount: 1,
	}
	for got, err := range s.Changes(NewestFirst) {
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	last, found, err := s.LastRecord()
	want.Added, want.Removed, want.Changed = nil, nil, nil
	if diff := cmp.Diff(want, last); !found || err != nil || diff != "" {
		t.Errorf("last record: %v, %v (-want +got):\n%s", found, err, diff)
	}
	info, err := os.Stat(filepath.Join(dir, logName))
	if err != nil || info.Mode().Perm() != logMode {
		t.Errorf("mode %v, %v; want %o", info.Mode(), err, logMode)
	}
	if text := string(mustRead(t, filepath.Join(dir, logName))); !strings.Contains(text, `<é>`) || strings.Count(text, "\n") != 1 {
		t.Errorf("not for grep: %s", text)
	}
	mustApply(t, s, Change{Generation: 6}) // time's own
	checkSequences(t, "after a change of nobody's", s, 1)
}

// torn is a database whose last three records the file may not have, the records
// before them as the file had them, and those three.
func torn(t *testing.T) (dir string, database, history, tail []byte) {
	dir = t.TempDir()
	path := filepath.Join(dir, logName)
	s := mustOpen(t, dir)
	logged(t, s, 1)
	logged(t, s, 2)
	history = mustRead(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		logged(t, s, n+3)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	database = mustRead(t, filepath.Join(dir, dbName))
	if err := s.FlushLog(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, database, history, mustRead(t, path)
}

// Promise: a write of records torn at any byte, or that left zeros for its end or
// its beginning, is finished at the next start, and reads as whole before that.
func TestTornChangeLog(t *testing.T) {
	dir, database, history, tail := torn(t)
	path := filepath.Join(dir, logName)
	whole := append(bytes.Clone(history), tail...)
	try := func(what string, content []byte, exact bool) {
		t.Helper()
		check := checkSequences
		if !exact { // a line that lost its beginning is passed over, and is there again behind those that did not
			check = func(tb testing.TB, what string, s *Store, last uint64) { checkEach(tb, what, s, last) }
		}
		mustWrite(t, filepath.Join(dir, dbName), database)
		mustWrite(t, path, content)
		reader, err := OpenReadOnly(dir)
		if err != nil {
			t.Fatal(err)
		}
		check(t, what+", read only", reader, 5)
		if _ = reader.Close(); !bytes.Equal(mustRead(t, path), content) {
			t.Fatalf("%s: reading changed the file", what)
		}
		s := mustOpen(t, dir)
		check(t, what, s, 5)
		if exact && !bytes.Equal(mustRead(t, path), whole) {
			t.Fatalf("%s: the file is\n%s", what, mustRead(t, path))
		}
		if len(content)%5 == 0 { // one in five is enough: the file is whole by now
			logged(t, s, 6)
			check(t, what+", after one more", s, 6)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range len(tail) + 1 {
		try(fmt.Sprintf("the first %d bytes", n), append(bytes.Clone(history), tail[:n]...), true)
	}
	for n := 0; n < len(tail); n += 29 {
		zeros := make([]byte, len(tail))
		copy(zeros, tail[:n])
		try(fmt.Sprintf("zeros from byte %d", n), append(bytes.Clone(history), zeros...), true)
		copy(zeros, tail)
		clear(zeros[:n])
		try(fmt.Sprintf("zeros up to byte %d", n), append(bytes.Clone(history), zeros...), false)
	}
}

// Promise: no change waits for the log. With the disk full it is made, the caller
// hears why it is not in the file, history has it, and later the file has, too.
func TestFullDiskBlocksNoChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	s := mustOpen(t, dir)
	logged(t, s, 1)
	kept := path + ".kept"
	if err := os.Rename(path, kept); err != nil {
		t.Fatal(err)
	}
	for n, full := range []func() error{
		func() error { return os.Symlink("/dev/full", path) },
		func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := full(); err != nil {
			t.Fatal(err)
		}
		logged(t, s, uint64(n+2))
		if err := s.FlushLog(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one that names %s", err, path)
		}
		if generation, err := s.Generation(); generation != uint64(n+2) || err != nil {
			t.Errorf("generation %d, %v; want %d", generation, err, n+2)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(kept, path); err != nil {
		t.Fatal(err)
	}
	checkSequences(t, "with two waiting", s, 3)
	waiting, _, err := s.unlogged(1)
	if err != nil || len(waiting) != 2 {
		t.Fatalf("%d records wait, %v; want 2", len(waiting), err)
	}
	partly := append(append(mustRead(t, path), waiting[0]...), '\n') // as a write that found a little room
	mustWrite(t, path, append(partly, waiting[1][:9]...))
	checkSequences(t, "with one of them torn", s, 3)
	if err := s.FlushLog(); err != nil {
		t.Fatal(err)
	}
	checkSequences(t, "appended", s, 3)
	if n := bytes.Count(mustRead(t, path), []byte("\n")); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
	logged(t, s, 4)
	if waiting, _, err = s.unlogged(0); len(waiting) != 1 || err != nil {
		t.Errorf("%d records wait, %v; want the last one", len(waiting), err)
	}
}
