// This file holds Open to "one daemon a pin root": who is second leaves the
// first alone, and a damaged directory is named.

package store

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: the second daemon names pid and path and touches nothing; the first
// goes on.
func TestSecondOpenNamesTheFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	c := startChild(t, dir)
	c.apply(t)
	before := snapshot(t, dir)
	for name, open := range map[string]func(string) (*Store, error){"Open": Open, "OpenReadOnly": OpenReadOnly} {
		start := time.Now()
		s, err := open(dir)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		var locked *lock.HeldError
		if !errors.As(err, &locked) {
			t.Fatalf("%s: %v, %v; want a lock.HeldError", name, s, err)
		}
		want := dir + " is in use by pid " + strconv.Itoa(c.cmd.Process.Pid)
		if locked.Path != dir || locked.PID != c.cmd.Process.Pid || err.Error() != want {
			t.Errorf("%s: %q, want %q", name, err, want)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("the second open changed the directory:\n%s", diff)
	}
	if n := c.apply(t); n != 2 {
		t.Errorf("the first went on with generation %d, want 2", n)
	}
	c.kill()
	if n, err := mustOpen(t, dir).Generation(); n != 2 || err != nil {
		t.Errorf("after the first is gone: generation %d, %v; want 2", n, err)
	}
}

// snapshot is every file of dir with its content and mode.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = info.Mode().String() + " " + string(content)
	}
	return files
}

// Nobody but the owner reads the state, and directories above it, or one that
// was there, keep the modes that others gave them.
func TestModes(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "lib", "xdpallow")
	s := mustOpen(t, dir)
	for range 2 {
		if err := s.SaveEffective(Effective{}); err != nil {
			t.Fatal(err)
		}
	}
	given := filepath.Join(root, "given")
	if err := os.Mkdir(given, 0o750); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, given)
	for path, want := range map[string]fs.FileMode{
		filepath.Join(root, "lib"):        0o755,
		dir:                               0o700,
		filepath.Join(dir, dbName):        0o600,
		filepath.Join(dir, effectiveName): 0o600,
		filepath.Join(dir, previousName):  0o600,
		given:                             0o750,
		filepath.Join(given, dbName):      0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// Commands without a daemon read what is there, create nothing, change nothing.
func TestOpenReadOnly(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	s, err := OpenReadOnly(missing)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := s.Claims(policy.OriginCLI)
	if generation, _ := s.Generation(); err != nil || len(claims) != 0 || generation != 0 {
		t.Errorf("missing directory: %v at %d, %v", claims, generation, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was created: %v", err)
	}

	dir := t.TempDir()
	writer := mustOpen(t, dir)
	mustApply(t, writer, numbered(1))
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	for range 2 { // two commands at a time
		s, err := OpenReadOnly(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if claims, err := s.Claims(policy.OriginCLI); err != nil || len(claims) != 2 {
			t.Errorf("claims %v, %v", claims, err)
		}
		if err := s.Apply(numbered(2)); !errors.Is(err, ErrReadOnly) {
			t.Errorf("apply: %v", err)
		}
		if err := s.SaveEffective(Effective{}); !errors.Is(err, ErrReadOnly) {
			t.Errorf("save: %v", err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("reading changed the directory:\n%s", diff)
	}
}

// A damaged database is named, with what to type next, and is neither a crash
// nor an empty list; its lock is let go.
func TestDamagedDatabase(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "state")
	s := mustOpen(t, whole)
	var change Change
	for n := range uint64(4000) {
		change.Put = append(change.Put, numbered(n+1).Put...)
	}
	mustApply(t, s, change)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(whole, dbName))
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"garbage":   []byte(strings.Repeat("garbage ", 4096)),
		"short":     content[:100],
		"zeros":     make([]byte, len(content)),
		"cut":       content[:4*4096],
		"no leaves": append(append([]byte{}, content[:2*4096]...), make([]byte, len(content)-2*4096)...),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, dbName)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir)
			if err == nil {
				_, err = s.Claims(policy.OriginCLI)
				_ = s.Close()
			}
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Path != path || !strings.Contains(err.Error(), "mv "+path+" "+path+".bad") {
				t.Fatalf("error %v", err)
			}
			if err := os.Rename(path, path+".bad"); err != nil { // what the message says
				t.Fatal(err)
			}
			s = mustOpen(t, dir)
			if claims, err := s.Claims(policy.OriginCLI); err != nil || len(claims) != 0 {
				t.Errorf("after moving it aside: %v, %v", claims, err)
			}
		})
	}
}

// What is not damaged is not to be moved aside.
func TestUnopenableIsNotCorrupt(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, dbName), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	var corrupt *CorruptError
	if err == nil || errors.As(err, &corrupt) || !strings.Contains(err.Error(), filepath.Join(dir, dbName)) {
		t.Errorf("error %v", err)
	}
}

// Nor is what was only closed.
func TestClosedIsNotCorrupt(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Claims(policy.OriginCLI)
	var corrupt *CorruptError
	if err == nil || errors.As(err, &corrupt) || s.Apply(numbered(1)) == nil {
		t.Errorf("error %v", err)
	}
}

// Only our own temporary files are taken away.
func TestOpenRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".effective.list123", ".effective.changes7", ".state.db9", ".effective.list.prev", "effective.list.mine", ".other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, dir)
	var left []string
	for name := range snapshot(t, dir) {
		if name != dbName {
			left = append(left, name)
		}
	}
	if diff := cmp.Diff([]string{".other", "effective.list.mine"}, left, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// Promise: a small state takes little of a disk, in blocks and by its length, which is what copies take.
func TestSmallStateIsSmall(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for i := range 100 {
		mustApply(t, s, Change{Generation: uint64(i + 1), Put: []policy.Claim{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32), Origin: policy.OriginCLI}}})
	}
	info, err := os.Stat(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 1<<20 {
		t.Errorf("a hundred entries have a database of %d bytes", info.Size())
	}
}
