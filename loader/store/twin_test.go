// This file holds the two files that keep everything to "one of them is enough":
// whatever happens to the other, nothing acknowledged is lost, and it is made anew.

package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// declaredBy is a policy with claims of the command line and of a file.
func declaredBy(generation uint64, made ...policy.Claim) func() Effective {
	return func() Effective {
		file := policy.Claim{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Origin: policy.FileOrigin("a.list"), Where: "a.list:1"}
		return Effective{
			Generation: generation, Services: []policy.Service{api}, Interfaces: []string{"eth0"}, Attach: "auto",
			Claims: append(pointers(made), &file),
		}
	}
}

// twins leaves a state directory with changes of every kind, some of them in the list and
// some after it, and returns its files and what they say.
func twins(t *testing.T, dir string) (files map[string][]byte, said string) {
	t.Helper()
	s := mustOpen(t, dir)
	first := roundClaim(1, 1)
	mustApply(t, s, Change{Put: []policy.Claim{first}, Generation: 1, Log: &Record{Command: "run"}, List: declaredBy(1, first), Whole: true})
	mustApply(t, s, Change{Suspend: []Suspension{{Subject: policy.Subject{Owner: "acme"}, Reason: "stolen", Time: time.Unix(9, 0).UTC()}}, Generation: 2})
	mustApply(t, s, Change{Put: []policy.Claim{roundClaim(2, 1), roundClaim(2, 2)}, Generation: 3, Log: &Record{Command: "add"}, Meta: map[string][]byte{"for/10.0.0.0/8": []byte("x")}})
	mustSave(t, s, declaredBy(3, roundClaim(1, 1), roundClaim(2, 1), roundClaim(2, 2))())
	mustApply(t, s, Change{Limit: []Limit{{Owner: "acme", PerSecond: 7, Burst: 9}}, Generation: 4})
	mustApply(t, s, Change{Follow: []Followed{followed("url:a", 1, 2, 3), followed("dns:b", 4)}, Generation: 4})
	mustApply(t, s, Change{Forget: []policy.Origin{"dns:b"}, Follow: []Followed{{Origin: "url:a", Delete: []netip.Prefix{roundClaim(3, 2).Prefix}, Put: followed("url:a", 1).Put}}})
	mustApply(t, s, Change{Delete: []netip.Prefix{roundClaim(2, 2).Prefix}, Generation: 5, Log: &Record{Command: "remove"}})
	mustApply(t, s, Change{Suspend: []Suspension{{Subject: policy.Subject{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}, Generation: 6, Confirm: &Confirm{Command: "replace"}})
	said = says(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return read(t, dir), said
}

// read returns the files of a directory.
func read(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		files[entry.Name()] = mustRead(t, filepath.Join(dir, entry.Name()))
	}
	return files
}

// says is everything that decides on a packet, in words.
func says(t *testing.T, s *Store) string {
	t.Helper()
	state, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	return stateWords(state)
}

func stateWords(state State) string {
	var b strings.Builder
	fmt.Fprintln(&b, state.Serial, state.Generation, state.Services, state.Interfaces, state.Attach)
	for _, c := range state.Claims {
		fmt.Fprintln(&b, c.Origin, c.Where, policy.FormatLine(*c))
	}
	confirm, _ := state.records.get(bucketFacts, keyConfirm)
	for _, bucket := range [][]byte{bucketLimits, bucketSuspended, bucketMeta, bucketUndo, bucketOrigins} {
		if confirm == nil && bytes.Equal(bucket, bucketUndo) {
			continue
		}
		_ = state.records.each(bucket, nil, func(key, record []byte) error {
			fmt.Fprintf(&b, "%s %x %x\n", bucket, key, record)
			return nil
		})
	}
	fmt.Fprintln(&b, string(confirm))
	lines := strings.Split(b.String(), "\n")
	slices.Sort(lines[1:]) // the order of origins is the file's
	return strings.Join(lines, "\n")
}

// put makes dir hold these files and no others.
func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name := range read(t, dir) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		mustWrite(t, filepath.Join(dir, name), content)
	}
}

// Promise: each file cut at 64 places, or gone, and each page of the database damaged, one
// at a time: the other has everything that was acknowledged, and after it was made anew
// both do.
func TestOneFileIsEnough(t *testing.T) {
	whole, said := twins(t, t.TempDir())
	dir := t.TempDir()
	opens := func(what string, files map[string][]byte) {
		t.Helper()
		put(t, dir, files)
		for range 2 { // again, from what was made anew
			s, err := Open(dir)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if diff := cmp.Diff(said, says(t, s)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{dbName, effectiveName, journalName} {
		content := whole[name]
		for i := range 64 {
			cut := maps.Clone(whole)
			cut[name] = content[:i*len(content)/64]
			opens(fmt.Sprintf("%s cut at %d of %d bytes", name, len(cut[name]), len(content)), cut)
		}
		gone := maps.Clone(whole)
		delete(gone, name)
		opens("no "+name, gone)
	}
	database := whole[dbName]
	for at := 0; at < len(database); at += 4096 {
		for i := range 16 {
			damaged := maps.Clone(whole)
			damaged[dbName] = slices.Clone(database)
			for j := i * 256; j < i*256+256; j++ {
				damaged[dbName][at+j] ^= 0x55
			}
			opens(fmt.Sprintf("page %d, bytes from %d", at/4096, i*256), damaged)
		}
	}
}

// Promise: the list with the changes after it says the same as the database, and the list
// before it with all changes does where nothing was declared in between.
func TestListSaysTheSame(t *testing.T) {
	dir := t.TempDir()
	whole, said := twins(t, dir)
	state, err := LoadState(dir)
	if diff := cmp.Diff(said, stateWords(state)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	put(t, dir, map[string][]byte{previousName: whole[previousName], journalName: whole[journalName]})
	state, err = LoadState(dir)
	var torn *TornError
	if diff := cmp.Diff(said, stateWords(state)); !errors.As(err, &torn) || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Promise: of an older copy of either file and the other, the later one is right, and
// somebody is told.
func TestOlderCopy(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	first := roundClaim(1, 1)
	mustApply(t, s, Change{Put: []policy.Claim{first}, Generation: 1, List: declaredBy(1, first), Whole: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	older := read(t, dir)
	s = mustOpen(t, dir)
	mustApply(t, s, Change{Delete: []netip.Prefix{first.Prefix}, Generation: 2})
	mustApply(t, s, Change{Suspend: []Suspension{{Subject: policy.Subject{Owner: "acme"}}}, Generation: 3})
	said := says(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := read(t, dir)
	for name, files := range map[string]map[string][]byte{
		"database": {dbName: older[dbName], effectiveName: whole[effectiveName], journalName: whole[journalName]},
		"list":     {dbName: whole[dbName], effectiveName: older[effectiveName]},
	} {
		put(t, dir, files)
		s, err := Begin(dir)
		if err != nil {
			t.Fatal(err)
		}
		troubles, err := s.OpenDatabase(true)
		if diff := cmp.Diff(said, says(t, s)); err != nil || diff != "" || len(troubles) != 1 || troubles[0].Hint == "" {
			t.Errorf("older %s: %v, %v (-want +got):\n%s", name, troubles, err, diff)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Of both nobody can know, but for the changes beside them.
	put(t, dir, map[string][]byte{dbName: older[dbName], effectiveName: older[effectiveName], journalName: whole[journalName][:0]})
	mustWrite(t, filepath.Join(dir, journalName), (&frame{serial: 9}).text())
	s, err := Begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if troubles, err := s.OpenDatabase(true); err != nil || len(troubles) != 1 || !strings.Contains(troubles[0].Text, "older copies of both") {
		t.Errorf("older copies of both: %v, %v", troubles, err)
	}
}

// Promise: while it runs the daemon loses nothing to somebody who deletes or replaces the
// files, or takes the directory away: they are written anew, and he is told of.
func TestFilesAreTakenAway(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"database":          func(dir string) error { return os.Remove(filepath.Join(dir, dbName)) },
		"another database":  func(dir string) error { return replaceBy(filepath.Join(dir, dbName), "garbage") },
		"list":              func(dir string) error { return os.Remove(filepath.Join(dir, effectiveName)) },
		"another list":      func(dir string) error { return replaceBy(filepath.Join(dir, effectiveName), "garbage") },
		"changes":           func(dir string) error { return os.Remove(filepath.Join(dir, journalName)) },
		"cut changes":       func(dir string) error { return os.Truncate(filepath.Join(dir, journalName), 10) },
		"the directory":     os.RemoveAll,
		"the directory too": func(dir string) error { return os.Rename(dir, dir+".away") },
	} {
		dir := filepath.Join(t.TempDir(), "state")
		twins(t, dir)
		s := mustOpen(t, dir)
		left := append([]policy.Claim{roundClaim(1, 1), roundClaim(2, 1)}, followed("url:a", 1, 3).Put...)
		list := declaredBy(6, left...)
		if err := take(dir); err != nil {
			t.Fatal(err)
		}
		troubles, rewrite, err := s.Watch()
		if err != nil || len(troubles) == 0 && !strings.Contains(name, "changes") {
			t.Errorf("%s: %v, %v", name, troubles, err)
		}
		if rewrite {
			mustSave(t, s, list())
		}
		mustApply(t, s, Change{Settle: true, Generation: 7, List: declaredBy(7, left...)})
		said := says(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		state, err := LoadState(dir)
		if diff := cmp.Diff(said, stateWords(state)); err != nil || diff != "" {
			t.Errorf("%s: the list: %v (-want +got):\n%s", name, err, diff)
		}
		s = mustOpen(t, dir)
		if diff := cmp.Diff(said, says(t, s)); diff != "" {
			t.Errorf("%s: the database (-want +got):\n%s", name, diff)
		}
	}
}

// Promise: a list that is being written is not taken for one that somebody else put there.
func TestWatchBesideASave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	twins(t, dir)
	s := mustOpen(t, dir)
	defer s.Close()
	list := declaredBy(6, roundClaim(1, 1), roundClaim(2, 1))()
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		for range 100 {
			mustSave(t, s, list)
		}
	}()
	for watches := 0; ; watches++ {
		if troubles, rewrite, err := s.Watch(); err != nil || rewrite || len(troubles) > 0 {
			t.Errorf("while a list is written: %v, to be written again %v, %v", troubles, rewrite, err)
		}
		select {
		case <-saved:
			t.Logf("watched %d times", watches)
			return
		default:
		}
	}
}

func replaceBy(path, text string) error {
	return errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path))
}

// Promise: a change that fails is nowhere, in neither file.
func TestFailedChangeIsInNeither(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	twins(t, dir)
	s := mustOpen(t, dir)
	failed := false
	for n := uint64(0); n < 1000 && !failed; n++ {
		before := says(t, s)
		err := s.Apply(Change{Put: []policy.Claim{{Prefix: roundClaim(n+3, 3).Prefix, Origin: policy.OriginCLI, Note: strings.Repeat("x", policy.MaxNote)}}, Generation: n + 7})
		if failed = err != nil; !failed {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Errorf("error %v", err)
		}
		state, err := LoadState(dir)
		if diff := cmp.Diff(before, says(t, s)) + cmp.Diff(before, stateWords(state)); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if !failed {
		t.Error("the disk never was full")
	}
}

// Promise: the database of a release before there were checksums is taken over whole, with
// what the list beside it declares; that release then refuses it by name.
func TestOldDatabase(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	claim := roundClaim(1, 1)
	record, err := encode(nil, claim, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		for name, records := range map[string]map[string][]byte{
			"claims":    {string(appendKey(nil, claim.Prefix)): record},
			"suspended": {"acme": encodeSuspension(Suspension{Reason: "stolen", Time: time.Unix(9, 0)})},
			"limits":    {"acme": encodeLimit(Limit{PerSecond: 7, Burst: 9})},
			"facts":     {string(keyGeneration): {0, 0, 0, 0, 0, 0, 0, 5}},
			"meta":      {MetaSince: []byte("x")},
		} {
			bucket, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for key, record := range records {
				if err := bucket.Put([]byte(key), record); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	if err := writeEffective(&list, declaredBy(5)()); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, effectiveName), []byte(list.String()))
	s = mustOpen(t, dir)
	claims, err := s.Claims(policy.OriginCLI)
	suspended, suspendedErr := s.Suspensions()
	limits, limitsErr := s.Limits()
	last, lastErr := s.Last()
	if err := errors.Join(err, suspendedErr, limitsErr, lastErr); err != nil || len(claims) != 1 || len(suspended) != 1 || len(limits) != 1 ||
		last.Generation != 5 || len(last.Claims) != 1 || len(last.Services) != 1 {
		t.Errorf("taken over: %v, %v, %v, %+v, %v", claims, suspended, limits, last, err)
	}
	err = s.db.View(func(tx *bolt.Tx) error { // as that release reads
		return tx.Bucket([]byte("claims")).ForEach(func(key, record []byte) error {
			_, _, err := newDecoder(policy.OriginCLI).decode(key, record)
			return err
		})
	})
	if !errors.Is(err, ErrNewer) {
		t.Errorf("an older release reads: %v", err)
	}
}
