// This file holds the store to "an acknowledged change survives SIGKILL".

package store

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/policy"
)

func testRand(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			tb.Fatalf("TEST_SEED: %v", err)
		}
	}
	tb.Logf("TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Promise: nothing is lost. The process is killed at random moments of
// a stream of changes; afterwards the database opens, holds every change that
// was acknowledged, and the state of exactly one generation.
func TestAcknowledgedChangesSurviveSIGKILL(t *testing.T) {
	random := testRand(t)
	dir := t.TempDir()
	var before uint64
	for round := range 15 {
		c := startChild(t, dir)
		acked := max(before, c.apply(t))
		if _, err := c.stdin.WriteString(strings.Repeat("\n", 4000)); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(random.IntN(40_000)) * time.Microsecond
		time.Sleep(wait)
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acked = max(acked, c.acknowledged(t))
		c.kill()
		t.Logf("round %d: killed after %v, generations %d to %d acknowledged", round, wait, before+1, acked)
		before = checkGeneration(t, dir, acked)
	}
}

// checkGeneration compares all of the state with what numbered makes of it.
func checkGeneration(t *testing.T, dir string, acked uint64) uint64 {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatalf("open after SIGKILL: %v", err)
	}
	defer s.Close()
	generation, err := s.Generation()
	if err != nil || generation < acked || generation > acked+1 {
		t.Fatalf("generation %d, %v; %d was acknowledged", generation, err, acked)
	}
	var want []policy.Claim
	for n := range generation {
		want = append(want, numbered(n + 1).Put[0])
	}
	want = append(want, numbered(generation).Put[1])
	got, err := s.Claims(policy.OriginCLI)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameClaims); diff != "" {
		t.Fatalf("claims at generation %d (-want +got):\n%s", generation, diff)
	}
	last, _, err := s.LastRecord()
	settings, metaErr := s.Meta(metaTest)
	text := strconv.FormatUint(generation, 10)
	if err != nil || metaErr != nil || last.Command != text || string(settings) != text {
		t.Fatalf("at generation %d: last change %+v, %v; settings %q, %v", generation, last, err, settings, metaErr)
	}
	e, err := LoadEffective(dir)
	if err != nil || e.Generation < acked || e.Generation > generation {
		t.Fatalf("effective list of generation %d, %v; %d was acknowledged", e.Generation, err, acked)
	}
	if diff := cmp.Diff(pointers(numbered(e.Generation).Put), e.Claims, sameClaims); diff != "" {
		t.Fatalf("effective list (-want +got):\n%s", diff)
	}
	checkLogged(t, s, generation)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 5 {
		t.Fatalf("temporary files are left: %v, %v", files, err)
	}
	return generation
}

// checkLogged compares the change log with generations 1 to last: each is there
// once and in order, on disk, and no other.
func checkLogged(t *testing.T, s *Store, last uint64) {
	t.Helper()
	n := uint64(0)
	for record, err := range s.Changes(OldestFirst) {
		n++
		if err != nil || record.Sequence != n || record.Before != n-1 || record.After != n || record.Command != strconv.FormatUint(n, 10) {
			t.Fatalf("record %d of the change log: %+v, %v", n, record, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(s.dir, logName))
	if err != nil || n != last || uint64(strings.Count(string(text), "\n")) != last {
		t.Fatalf("%d records in %d lines of the change log, %v; want %d", n, strings.Count(string(text), "\n"), err, last)
	}
}
