package main

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// Promise: check -f takes the file that add - takes, and checks the first address of each
// prefix in it; a file in another encoding is refused in the same words.
func TestCheckFile(t *testing.T) {
	const list = "\ufeff# customers\r\n203.0.113.0/24  owner=acme  until=2099-06-30   # office\r\n\r\n" +
		"2001:db8:42::/48 note=\"OPS-1234, the new building\"\r\n::ffff:198.51.100.7\r\n198.51.100.8\r\n"
	w := newWorld(t).serve(t, sampleEngine())
	w.stdin = list
	if code, _, stderr := w.sh("add -"); code != 0 {
		t.Fatalf("add - of it: exit %d, %s", code, stderr)
	}
	w.asked, w.stdin = nil, list
	code, _, stderr := w.sh("check -f -")
	if code > 1 || !strings.Contains(stderr, "xdpallow: of 2 prefixes the first address is checked\n") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	want := []any{"check 203.0.113.0 2001:db8:42:: ::ffff:198.51.100.7 198.51.100.8"}
	if !slices.Equal(w.asked, want) {
		t.Errorf("asked %q, want %q", w.asked, want)
	}
	// A log that begins with addresses will do, too.
	w.asked, w.stdin = nil, "192.0.2.7 - - [28/Nov/2026:14:00:00 +0000] \"GET / HTTP/1.1\" 200\n127.0.0.1 - -\n"
	if code, _, stderr := w.sh("check -f -"); code > 1 || !slices.Equal(w.asked, []any{"check 192.0.2.7 127.0.0.1"}) {
		t.Errorf("a log: exit %d, asked %q, %s", code, w.asked, stderr)
	}

	var wide []byte
	for _, unit := range utf16.Encode([]rune(list)) {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	for _, c := range []struct{ text, says string }{
		{string(wide), "xdpallow: error: stdin: the text is UTF-16, not UTF-8\nxdpallow: hint: iconv -f UTF-16 -t UTF-8 FILE >FILE.utf8 && mv FILE.utf8 FILE\n"},
		{"192.0.2.7 # caf\xe9\n", "xdpallow: error: stdin: the text is Latin-1 or another 8-bit encoding, not UTF-8\nxdpallow: hint: iconv -f LATIN1 -t UTF-8 FILE >FILE.utf8 && mv FILE.utf8 FILE\n"},
		{"192.0.2.7/24\n", "xdpallow: error: stdin:1: 192.0.2.7/24 has host bits set\nxdpallow: hint: 192.0.2.0/24\n"},
		{"192.0.2.0/255.255.255.0\n", "xdpallow: error: stdin:1: \"192.0.2.0/255.255.255.0\" has a netmask: write its length\nxdpallow: hint: 192.0.2.0/24\n"},
		{"192.0.2.1-192.0.2.2\n", "xdpallow: error: stdin:1: \"192.0.2.1-192.0.2.2\" is a range: list its prefixes\nxdpallow: hint: 192.0.2.1/32 192.0.2.2/32\n"},
	} {
		for line, code := range map[string]int{"check -f -": 2, "add -": 2} {
			w.asked, w.stdin = nil, c.text
			if got, _, stderr := w.sh(line); got != code || stderr != c.says || len(w.asked) > 0 {
				t.Errorf("%s of %q: exit %d, %q, want %q", line, c.text, got, stderr, c.says)
			}
		}
	}
}
