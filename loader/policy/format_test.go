package policy

import (
	"strings"
	"testing"
)

// Promise: what would turn or hide the words of a terminal's line is in no note that comes
// from outside; what is stored already is still read, or a host would have no list.
func TestNoFormatCharacters(t *testing.T) {
	for _, bad := range []string{"a\u202eb", "a\u2066b", "a\u200bb", "a\u2028b", "a\u00adb", "a\x1bb", "a\u0085b"} {
		if err := ParseNote(bad); err == nil {
			t.Errorf("note %+q is accepted", bad)
		}
		if _, _, err := ParseLine("192.0.2.1 note=\"" + bad + "\""); err == nil {
			t.Errorf("line with %+q is accepted", bad)
		}
		if _, _, err := ParseLine("192.0.2.1 # " + bad); err == nil {
			t.Errorf("comment with %+q is accepted", bad)
		}
	}
	for _, good := range []string{"Büro 東京 🏢", "می\u200cخواهم", "👩\u200d💻", "a\tb"} {
		if err := ParseNote(good); err != nil {
			t.Errorf("note %q: %v", good, err)
		}
	}
}

// What an earlier release accepted is read from what is stored.
func TestStoredNotes(t *testing.T) {
	claims, _, err := ParseStored("x", OriginCLI, strings.NewReader("192.0.2.1 note=\"a\u202eb\"\n"))
	if err != nil || len(claims) != 1 {
		t.Errorf("%v, %v", claims, err)
	}
}
