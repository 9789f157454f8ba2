package spool

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Promise: a text is at its path when it is whole, and then in the place of the old one, for its owner
// alone; until then nothing is, and nothing is left of what was not finished.
func TestCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kept")
	write := func(text string, commit bool) {
		t.Helper()
		f, err := New(path)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err == nil && commit {
			err = f.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		text   string
		commit bool
		want   string
	}{{"one\n", false, ""}, {"one\n", true, "one\n"}, {"half", false, "one\n"}, {"two\n", true, "two\n"}} {
		write(c.text, c.commit)
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("%q, whole %v: %q is there, want %q", c.text, c.commit, got, c.want)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 1 || len(left) == 1 && left[0] != path {
			t.Errorf("left: %v", left)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := New(filepath.Join(dir, "no", "where")); err == nil {
		t.Error("a path without a directory was taken")
	}
}

// Promise: a text is passed on as it is, and as JSON has it, also where no file can be made.
func TestPassedOn(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/nowhere"} {
		t.Setenv("TMPDIR", dir)
		for _, text := range []string{"", "a\n", "a \"b\" <c> & ü\n\tlast", strings.Repeat("line \\ \n", 10_000)} {
			f, err := New("")
			if err == nil {
				_, err = f.WriteString(text)
			}
			if err != nil {
				t.Fatal(err)
			}
			var plain, quoted, want strings.Builder
			encoder := json.NewEncoder(&want)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(text); err != nil {
				t.Fatal(err)
			}
			if err := f.CopyTo(&plain); err != nil || plain.String() != text {
				t.Errorf("%.20q is %.20q, %v", text, plain.String(), err)
			}
			if err := f.QuoteTo(&quoted); err != nil || quoted.String()+"\n" != want.String() {
				t.Errorf("%.20q is quoted as %.40s, %v", text, quoted.String(), err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}
