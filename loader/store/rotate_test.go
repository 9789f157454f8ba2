// This file holds the change log to "each record once" where others have the file
// in their hands, or took the database away.

package store

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Promise: who rotates the log, by renaming or by copying and truncating, while
// the daemon runs or does not, has each record once in all files.
func TestChangeLogIsRotated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	s := mustOpen(t, dir)
	var all []byte
	rename := func() {
		all = append(all, mustRead(t, path)...)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
	}
	copytruncate := func() {
		all = append(all, mustRead(t, path)...)
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir)
	}
	n := uint64(0)
	for _, steps := range [][]func(){{rename}, {copytruncate}, {reopen}, {rename, reopen}, {copytruncate, reopen}, {reopen, rename}} {
		n += 2
		logged(t, s, n-1)
		logged(t, s, n)
		for _, step := range steps {
			step()
		}
	}
	logged(t, s, n+1)
	all = append(all, mustRead(t, path)...)
	var got, want []uint64
	for line := range bytes.Lines(all) {
		record, ok := parseLine(line)
		if !ok {
			t.Fatalf("line %q", line)
		}
		got, want = append(got, record.Sequence), append(want, uint64(len(want)+1))
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != int(n+1) {
		t.Errorf("%d records, want %d (-want +got):\n%s", len(got), n+1, diff)
	}
}

// Moving a damaged database aside, as its error says, does not begin the numbers
// anew, and history is not cut.
func TestNumbersGoOnWithoutTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	logged(t, s, 1)
	logged(t, s, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, dbName)); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	logged(t, s, 1)
	checkSequences(t, "with a new database", s, 3)
}

// A whole record that lacks its end only is history, too.
func TestUnendedRecordIsKept(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, logName), []byte(`{"sequence":1,"time":"2026-11-22T00:00:00Z"}`))
	s := mustOpen(t, dir)
	checkSequences(t, "before", s, 1)
	logged(t, s, 1)
	checkSequences(t, "after", s, 2)
}

// Lines with an end are history: what somebody else wrote is passed over, and not
// touched.
func TestChangeLogKeepsWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	const theirs = "garbage\n\n{}\nnull\n{\"sequence\":18446744073709551615,\"time\":\"2026-11-22T00:00:00Z\"}\n" +
		"{\"sequence\":1,\"time\":\"2026-11-22T00:00:00Z\",\"colour\":[1],\"added\":null}\n{\"sequence\":\"2\"}\n\x00\xff\n"
	mustWrite(t, path, []byte(theirs+`{"sequence":2,"ti`))
	s := mustOpen(t, dir)
	checkSequences(t, "before", s, 1)
	logged(t, s, 1)
	checkSequences(t, "after", s, 2)
	if text := string(mustRead(t, path)); !strings.HasPrefix(text, theirs+`{"sequence":2,"time":"`) {
		t.Errorf("the file is\n%s", text)
	}
}
