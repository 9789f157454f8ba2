// This file holds the effective list to "after a reboot the last good policy
// is back", whatever happened to the file.

package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var api = policy.Service{
	Name: "api", Mode: policy.Enforce, Scope: policy.ScopeSYN,
	Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}, {Protocol: policy.UDP, Number: 443}},
}

// generation is a small effective list that differs from every other in each
// of its parts.
func generation(n uint64) Effective {
	note := fmt.Sprintf("generation %d # \"quoted\"\t#: \"x\"", n)
	claim := func(prefix string, origin policy.Origin, where string) *policy.Claim {
		return &policy.Claim{Prefix: netip.MustParsePrefix(prefix), Note: note, Origin: origin, Where: where}
	}
	return Effective{
		Generation: n, Services: []policy.Service{api}, Interfaces: []string{fmt.Sprintf("eth%d", n)}, Attach: "native",
		Claims: []*policy.Claim{
			claim("10.0.0.0/8", policy.OriginCLI, ""),
			claim("203.0.113.0/24", policy.FileOrigin("allow.d/a.list"), "allow.d/a.list:3"),
		},
	}
}

func pointers(claims []policy.Claim) (to []*policy.Claim) {
	for i := range claims {
		to = append(to, &claims[i])
	}
	return to
}

func mustSave(tb testing.TB, s *Store, e Effective) {
	tb.Helper()
	if err := s.SaveEffective(e); err != nil {
		tb.Fatalf("save: %v", err)
	}
}

// Promise: every field of every origin's claims comes back, in the order of
// each origin, under any name that a file can have.
func TestEffectiveRoundTrip(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	origins := rapid.SampledFrom([]policy.Origin{
		policy.OriginCLI, policy.OriginFlag, policy.FileOrigin("/etc/x.list"), policy.FileOrigin("a\tb\n\"#\xff.list"),
	})
	order := func(a, b *policy.Claim) int {
		if c := strings.Compare(string(a.Origin), string(b.Origin)); c != 0 {
			return c
		}
		return policy.ComparePrefix(a.Prefix, b.Prefix)
	}
	wheres := rapid.SampledFrom([]string{"", "x.list:3", "a\tb\n\t#: \"\xff\":7"})
	rapid.Check(t, func(t *rapid.T) {
		want := Effective{Generation: rapid.Uint64().Draw(t, "generation"), Attach: rapid.SampledFrom([]string{"", "native"}).Draw(t, "attach"), Backstop: rapid.SampledFrom([]string{"", "off"}).Draw(t, "backstop")}
		if rapid.Bool().Draw(t, "set") {
			want.Services, want.Interfaces = []policy.Service{api}, []string{"eth0", "bond-1.7"}
		}
		for _, c := range rapid.SliceOfN(genClaim, 0, 12).Draw(t, "claims") { // a prefix may be there twice
			c.Origin, c.Where = origins.Draw(t, "origin"), wheres.Draw(t, "where")
			want.Claims = append(want.Claims, &c)
			if rapid.IntRange(0, 5).Draw(t, "again") == 0 {
				want.Claims = append(want.Claims, &c)
			}
		}
		if err := s.SaveEffective(want); err != nil {
			t.Fatal(err)
		}
		got, err := LoadEffective(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []*Effective{&want, &got} {
			slices.SortStableFunc(e.Claims, order)
		}
		if diff := cmp.Diff(want, got, sameClaims); diff != "" {
			t.Fatalf("effective list (-want +got):\n%s", diff)
		}
		// LoadDeclared passes over what stands in the database, and nothing else.
		declared, err := LoadDeclared(dir)
		if err != nil {
			t.Fatal(err)
		}
		want.Claims = slices.DeleteFunc(want.Claims, func(c *policy.Claim) bool { return c.Origin == policy.OriginCLI })
		slices.SortStableFunc(declared.Claims, order)
		if diff := cmp.Diff(want, declared, sameClaims); diff != "" {
			t.Fatalf("declared (-want +got):\n%s", diff)
		}
	})
}

// The order of the lines of a file is kept: problems are told by line.
func TestEffectiveKeepsOrderWithinOrigin(t *testing.T) {
	dir := t.TempDir()
	var want []*policy.Claim
	for i, prefix := range []string{"10.9.0.0/16", "2001:db8::/32", "10.1.0.0/16"} {
		want = append(want, &policy.Claim{Prefix: netip.MustParsePrefix(prefix), Origin: policy.FileOrigin("a"), Where: fmt.Sprint("a:", i)})
	}
	mustSave(t, mustOpen(t, dir), Effective{Claims: want})
	got, err := LoadEffective(dir)
	if diff := cmp.Diff(want, got.Claims, sameClaims); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Promise: a torn write never gives a mixture. The file is
// cut at every byte and every byte is changed; the generation before is used,
// and the caller is told.
func TestTornEffectiveFallsBack(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustSave(t, s, generation(1))
	mustSave(t, s, generation(2))
	path := filepath.Join(dir, effectiveName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := LoadEffective(dir)
		var torn *TornError
		if !errors.As(err, &torn) || torn.Path != path || torn.Generation != 1 {
			t.Fatalf("%s: error %v", what, err)
		}
		if diff := cmp.Diff(generation(1), got, sameClaims); diff != "" {
			t.Fatalf("%s: (-want +got):\n%s", what, diff)
		}
	}
	for n := range whole {
		expect(fmt.Sprintf("the first %d bytes", n), whole[:n])
		for _, flip := range []byte{0x01, 0x20, 0xff} {
			changed := bytes.Clone(whole)
			changed[n] ^= flip
			expect(fmt.Sprintf("byte %d changed by %#x", n, flip), changed)
		}
	}
	expect("a byte more", append(bytes.Clone(whole), '\n'))
	expect("twice", append(bytes.Clone(whole), whole...))

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadEffective(dir)
	if diff := cmp.Diff(generation(2), got, sameClaims); err != nil || diff != "" {
		t.Fatalf("whole again: %v (-want +got):\n%s", err, diff)
	}
}

// Promise: one whole file at every moment. A daemon that starts on a torn file
// must not put it in the place of the whole one before.
func TestSaveKeepsTheLastWholeFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustSave(t, s, generation(1))
	mustSave(t, s, generation(2))
	path := filepath.Join(dir, effectiveName)
	for n, damage := range []func() error{
		func() error { return os.Truncate(path, 100) },
		func() error { return os.Remove(path) },
	} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir)
		mustSave(t, s, generation(uint64(n+3)))
		previous, err := loadFile(filepath.Join(dir, previousName), nil)
		if err != nil || previous.Generation != 1 {
			t.Fatalf("damage %d: previous is generation %d, %v; want 1", n, previous.Generation, err)
		}
		if e, err := LoadEffective(dir); err != nil || e.Generation != uint64(n+3) {
			t.Fatalf("damage %d: generation %d, %v", n, e.Generation, err)
		}
	}
	mustSave(t, s, generation(5)) // and from here on as ever
	if previous, err := loadFile(filepath.Join(dir, previousName), nil); err != nil || previous.Generation != 4 {
		t.Errorf("previous is generation %d, %v; want 4", previous.Generation, err)
	}
}

// A crash between the link and the replacement leaves both names on one file.
func TestSaveAfterCrashBetweenLinkAndRename(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustSave(t, s, generation(1))
	if err := linkOver(filepath.Join(dir, effectiveName), filepath.Join(dir, previousName)); err != nil {
		t.Fatal(err)
	}
	mustSave(t, s, generation(2))
	previous, err := loadFile(filepath.Join(dir, previousName), nil)
	e, loadErr := LoadEffective(dir)
	if err != nil || loadErr != nil || previous.Generation != 1 || e.Generation != 2 {
		t.Errorf("generations %d and %d, %v, %v; want 1 and 2", previous.Generation, e.Generation, err, loadErr)
	}
	if files := snapshot(t, dir); len(files) != 3 {
		t.Errorf("%d files are left, want 3", len(files))
	}
}

// A save that fails leaves the last good list, and no temporary file.
func TestFailedSaveChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustSave(t, s, generation(1))
	before := snapshot(t, dir)
	bad := generation(2)
	bad.Claims[1].Note = "two\nlines"
	if err := s.SaveEffective(bad); err == nil || !strings.Contains(err.Error(), "203.0.113.0/24") {
		t.Errorf("error %v, want one that names the entry", err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("the directory changed:\n%s", diff)
	}
}

func TestLoadEffectiveWithout(t *testing.T) {
	dir := t.TempDir()
	for _, dir := range []string{dir, filepath.Join(dir, "missing")} {
		if e, err := LoadEffective(dir); err != nil || !cmp.Equal(e, Effective{}) {
			t.Errorf("nothing there: %+v, %v; want nothing", e, err)
		}
	}
	for _, names := range [][]string{{effectiveName}, {previousName}, {effectiveName, previousName}} {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("10.0.0.0/8\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e, err := LoadEffective(dir)
		var torn *TornError
		if err == nil || errors.As(err, &torn) || !cmp.Equal(e, Effective{}) {
			t.Errorf("no whole file of %v: %+v, %v; want an error and nothing", names, e, err)
		}
	}
	mustSave(t, mustOpen(t, dir), generation(1))
	if err := os.Rename(filepath.Join(dir, effectiveName), filepath.Join(dir, previousName)); err != nil {
		t.Fatal(err)
	}
	var torn *TornError
	if e, err := LoadEffective(dir); !errors.As(err, &torn) || e.Generation != 1 {
		t.Errorf("only the previous is there: generation %d, %v", e.Generation, err)
	}
}

// What a later release writes is not read in part, though its checksum matches.
func TestNewerEffectiveIsRefused(t *testing.T) {
	dir := t.TempDir()
	var file bytes.Buffer
	if err := writeEffective(&file, generation(2)); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(file.String(), `"version":1`, `"version":2`, 1)
	if err := os.WriteFile(filepath.Join(dir, effectiveName), resum(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := LoadEffective(dir); !errors.Is(err, ErrNewer) || e.Generation != 0 {
		t.Errorf("generation %d, %v; want %v", e.Generation, err, ErrNewer)
	}
}

// Every fault that a matching checksum does not exclude.
func TestReadEffectiveRefuses(t *testing.T) {
	const goodHead = headMark + `{"version":1,"generation":1,"claims":1}` + "\n"
	for name, text := range map[string]string{
		"no head":          "# nothing\n",
		"head is not JSON": headMark + "x\n",
		"claim is missing": goodHead + originMark + "\"cli\"\n",
		"no origin":        goodHead + "10.0.0.0/8\n",
		"bad origin":       goodHead + originMark + "cli\n10.0.0.0/8\n",
		"bad place":        goodHead + originMark + "\"cli\"\n10.0.0.0/8" + whereMark + "x\n",
		"bad line":         goodHead + originMark + "\"cli\"\n10.0.0.1/8\n",
		"comment":          goodHead + originMark + "\"cli\"\n10.0.0.0/8\n# no entry\n",
		"cut line":         goodHead + originMark + "\"cli\"\n10.0.0.0/8",
		"long line":        goodHead + originMark + "\"cli\"\n10.0.0.0/8 #" + strings.Repeat("x", bufferSize) + "\n",
	} {
		if e, err := readEffective(strings.NewReader(text), nil); err == nil || len(e.Claims) > 0 {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	e, err := readEffective(strings.NewReader(goodHead+originMark+"\"cli\"\n10.0.0.0/8\n"), nil)
	if err != nil || len(e.Claims) != 1 {
		t.Errorf("good: %+v, %v", e, err)
	}
}

// resum replaces the checksum line of an effective list by the right one.
func resum(text string) []byte {
	body := text[:strings.LastIndex(text, sumMark)]
	sum := sha256.New()
	sum.Write([]byte(body))
	return append([]byte(body), sumLine(sum)...)
}

// writeEffective writes e without records beside it.
func writeEffective(w io.Writer, e Effective) error { return writeList(w, e, 0, nil) }
