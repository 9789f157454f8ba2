// This file holds reading of the change log to "whatever is in the file".

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
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// Promise: every field comes back from one line, and no beginning of a line is
// read as a record.
func TestLineKeepsEveryField(t *testing.T) {
	words := rapid.SampledFrom([]string{"", "add 10.0.0.0/8", "two\nlines", `"quoted" \`, "<é>\u2028\x00"})
	lists := rapid.SliceOfN(words, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		want := Record{
			Sequence: rapid.Uint64Range(1, 1<<63-1).Draw(t, "sequence"), UID: rapid.Uint32().Draw(t, "uid"), PID: rapid.Int32().Draw(t, "pid"),
			Time:    time.Unix(rapid.Int64Range(1, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC(),
			Command: words.Draw(t, "command"), Reason: words.Draw(t, "reason"),
			Before: rapid.Uint64().Draw(t, "before"), After: rapid.Uint64().Draw(t, "after"),
			Added: lists.Draw(t, "added"), Removed: lists.Draw(t, "removed"), Changed: lists.Draw(t, "changed"),
			AddedCount: rapid.IntRange(0, 5).Draw(t, "count"),
		}
		want = *want.cut(time.Time{})
		line, err := encodeLine(want)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseLine(line)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); !ok || diff != "" || bytes.ContainsAny(line, "\n") {
			t.Fatalf("%v %s (-want +got):\n%s", ok, line, diff)
		}
		if n := rapid.IntRange(0, len(line)-1).Draw(t, "cut at"); n < len(line) {
			if _, ok := parseLine(line[:n]); ok {
				t.Fatalf("%s is a record", line[:n])
			}
		}
	})
}

// A million entries, and words without end, have room in a line that is read again.
func TestLongRecordIsCut(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	many := slices.Repeat([]string{"10.0.0.0/8 owner=acme"}, 1_000_000)
	wide := slices.Repeat([]string{strings.Repeat("\x01", 4096)}, 500)
	mustApply(t, s, Change{Log: &Record{
		Command: strings.Repeat("é", 4096) + "x", Reason: strings.Repeat("\x01", 1<<20), Added: many, Removed: wide, Changed: wide[:3], ChangedCount: 9,
	}})
	if size := len(mustRead(t, filepath.Join(dir, logName))); size > maxLine {
		t.Errorf("%d bytes, want at most %d", size, maxLine)
	}
	n := 0
	for r, err := range s.Changes(OldestFirst) {
		n++
		if err != nil || r.AddedCount != len(many) || r.RemovedCount != len(wide) || r.ChangedCount != 9 {
			t.Errorf("counts %d, %d, %d, %v", r.AddedCount, r.RemovedCount, r.ChangedCount, err)
		}
		if len(r.Added) != MaxListed || len(r.Removed) != maxListedBytes/4096 || len(r.Changed) != 3 || r.Command != strings.Repeat("é", maxWords/2) || len(r.Reason) != maxWords {
			t.Errorf("lists of %d, %d, %d; command of %d, reason of %d bytes", len(r.Added), len(r.Removed), len(r.Changed), len(r.Command), len(r.Reason))
		}
		if r.Time.IsZero() {
			t.Error("the record has no time")
		}
	}
	if n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

// Reading stops where the reader does, and holds nobody up meanwhile.
func TestChangesStops(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for n := range uint64(5) {
		logged(t, s, n+1)
	}
	for order, want := range map[Order][]uint64{OldestFirst: {1, 2}, NewestFirst: {5, 4}} {
		var got []uint64
		for record, err := range s.Changes(order) {
			if err != nil {
				t.Fatal(err)
			}
			mustApply(t, s, Change{Meta: map[string][]byte{MetaSince: []byte("x")}})
			if got = append(got, record.Sequence); len(got) == 2 {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Lines of every length around what is read at once come from both ends as
// strings.Split has them; those that are too long for us do not come.
func TestLinesFromBothEnds(t *testing.T) {
	random := testRand(t)
	texts := []string{"", "\n", "a", "a\n", "\n\na\n\n", strings.Repeat("x", maxLine) + "\nb", "a\n" + strings.Repeat("x", maxLine+1) + "\nb\n", strings.Repeat("x", 3*maxLine), "a\n" + strings.Repeat("x", 5*maxLine/2) + "\n"}
	for range 200 {
		var text strings.Builder
		for range random.IntN(5) {
			n := []int{0, 1, 5, chunk - 1, chunk, chunk + 1, 2 * chunk, 3*chunk + 7}[random.IntN(8)]
			text.WriteString(strings.Repeat(string(rune('a'+random.IntN(26))), n))
			text.WriteString(strings.Repeat("\n", random.IntN(2)))
		}
		texts = append(texts, text.String())
	}
	for _, text := range texts {
		var want []string
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > 0 && len(line) <= maxLine {
				want = append(want, line)
			}
		}
		up, down := linesOf(t, text, OldestFirst), linesOf(t, text, NewestFirst)
		slices.Reverse(down)
		if !slices.Equal(up, want) || !slices.Equal(down, want) {
			t.Fatalf("%d bytes: %d lines forward, %d backward, want %d", len(text), len(up), len(down), len(want))
		}
	}
}

func linesOf(tb testing.TB, text string, order Order) (all []string) {
	tb.Helper()
	for line, err := range order.lines(strings.NewReader(text), int64(len(text))) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, string(line))
	}
	return all
}

// Whatever is in the file: lines with an end stay, two records that are appended
// are there once, the second time nothing is done, and both orders are one.
func FuzzChangeLog(f *testing.F) {
	var lines [][]byte
	for n := range uint64(2) {
		line, err := encodeLine(Record{Sequence: 1<<62 + n, Time: time.Unix(1, int64(n))})
		if err != nil {
			f.Fatal(err)
		}
		lines = append(lines, line)
	}
	const old = `{"sequence":7,"time":"2026-11-22T00:00:00Z","command":"add"}`
	for _, seed := range []string{"", "\n", old, old + "\n", old + "\n" + old[:20], old + "\n" + string(lines[0]) + "\n" + string(lines[1][:9]), "\x00\x00\n\x00", string(lines[0])} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), fmt.Sprint(logName, os.Getpid()))
	f.Fuzz(func(t *testing.T, content []byte) {
		mustWrite(t, path, content)
		if err := appendLog(path, lines, false); err != nil {
			t.Fatal(err)
		}
		after := mustRead(t, path)
		if kept := content[:bytes.LastIndexByte(content, '\n')+1]; !bytes.HasPrefix(after, kept) || !bytes.HasSuffix(after, []byte("\n")) {
			t.Fatalf("%q became %q", content, after)
		}
		for _, line := range lines {
			if n := bytes.Count(after, append(line, '\n')); n != 1 && n > bytes.Count(content, line) {
				t.Fatalf("%q is there %d times in %q", line, n, after)
			}
		}
		if err := appendLog(path, lines, false); err != nil || !bytes.Equal(mustRead(t, path), after) {
			t.Fatalf("the second time: %v, %q", err, mustRead(t, path))
		}
		up, down := linesOf(t, string(after), OldestFirst), linesOf(t, string(after), NewestFirst)
		if slices.Reverse(down); !slices.Equal(up, down) || len(up) < len(lines) {
			t.Fatalf("forward %q, backward %q", up, down)
		}
		for _, line := range up {
			parseLine([]byte(line))
		}
	})
}
