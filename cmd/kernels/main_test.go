// These tests hold what cannot be seen from a run that goes well: that a guest
// which never reports its end is no success, and that nothing is taken for
// something else on the command line. The rest is held by running it.

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only a whole marker line ends a guest; a panic after half a line does not.
func TestFollow(t *testing.T) {
	for _, test := range []struct {
		console string
		code    int
		ended   bool
	}{
		{"PASS\r\n\r\n" + exitMarker + "0\r\nreboot: Power down\r\n", 0, true},
		{"FAIL\n" + exitMarker + "7\n", 7, true},
		{"PASS\nKernel panic - not syncing\n", 0, false},
		{"PASS\n" + exitMarker + "\n", 0, false},
		{"says: " + exitMarker + "0\n", 0, false},
		{"", 0, false},
	} {
		code, ended := follow(strings.NewReader(test.console))
		if code != test.code || ended != test.ended {
			t.Errorf("follow(%q) = %d, %v, want %d, %v", test.console, code, ended, test.code, test.ended)
		}
	}
}

func TestSplit(t *testing.T) {
	kernels, commands, err := split(strings.Fields("6.1 6.12 -- a.test -test.v + b.test"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"6.1", "6.12"}, kernels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]string{{"a.test", "-test.v"}, {"b.test"}}, commands); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{"", "6.1", "6.1 a.test", "-- a.test", "6.1 --", "6.1 -- a.test +", "6.1 -- + a.test"} {
		if _, _, err := split(strings.Fields(line)); err == nil {
			t.Errorf("split(%q) was accepted", line)
		}
	}
}

// The packed name and data of each entry begin on a multiple of four, and the
// folders above a file come before it.
func TestArchive(t *testing.T) {
	var out strings.Builder
	archive := &cpio{out: &out, made: make(map[string]bool)}
	archive.file("a/b/c", 0o755, []byte("12345"))
	if archive.err != nil {
		t.Fatal(archive.err)
	}
	var names []string
	for _, entry := range strings.Split(out.String(), "070701")[1:] {
		if (len(entry)+len("070701"))%4 != 0 {
			t.Errorf("entry of %d bytes", len(entry))
		}
		name, _, _ := strings.Cut(entry[8*13:], "\x00")
		names = append(names, name)
	}
	if diff := cmp.Diff([]string{"a", "a/b", "a/b/c"}, names); diff != "" {
		t.Error(diff)
	}
}

// A packed kernel ends where its header says, and one that ends beyond the file is refused.
func TestZbootPayload(t *testing.T) {
	image := append([]byte("MZ\x00\x00zimg\x18\x00\x00\x00\x0a\x00\x00\x00gzip\x00\x00\x00\x00"), "0123456789 and the rest"...)
	if got, err := zbootPayload(image); err != nil || string(got) != "0123456789" {
		t.Errorf("payload %q, %v", got, err)
	}
	for _, size := range []int{12, 30} {
		if _, err := zbootPayload(image[:size]); err == nil {
			t.Errorf("%d bytes of an image were accepted", size)
		}
	}
}

// A guest of another processor needs an init for it.
func TestArchitecture(t *testing.T) {
	for line, good := range map[string]bool{
		"6.1 -- a.test": true,
		"-arch arm64 -init kernels 6.1 -- a.test": true,
		"-arch arm64 6.1 -- a.test":               false,
		"-arch m68k 6.1 -- a.test":                false,
	} {
		if _, err := parse(strings.Fields(line)); (err == nil) != good {
			t.Errorf("parse(%q): %v", line, err)
		}
	}
}
