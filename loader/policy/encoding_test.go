package policy

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
)

// Promise: a text in another encoding is one mistake, which says what the text is and how to
// turn it into UTF-8.
func TestParseListEncodings(t *testing.T) {
	const text = "10.0.0.0/8 owner=acme # caf\u00e9\r\n10.1.0.0/16\r\n"
	wide := func(order binary.AppendByteOrder, text string) string {
		var b []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			b = order.AppendUint16(b, unit)
		}
		return string(b)
	}
	const isLatin1 = "the text is Latin-1 or another 8-bit encoding, not UTF-8"
	for _, c := range []struct{ name, text, what, encoding string }{
		{"UTF-16LE with its mark", wide(binary.LittleEndian, "\ufeff"+text), "the text is UTF-16, not UTF-8", "UTF-16"},
		{"UTF-16BE with its mark", wide(binary.BigEndian, "\ufeff"+text), "the text is UTF-16, not UTF-8", "UTF-16"},
		{"UTF-16LE", wide(binary.LittleEndian, text), "the text is UTF-16LE, not UTF-8", "UTF-16LE"},
		{"UTF-16BE", wide(binary.BigEndian, text), "the text is UTF-16BE, not UTF-8", "UTF-16BE"},
		{"Latin-1", strings.ReplaceAll(text, "\u00e9", "\xe9"), isLatin1, "LATIN1"},
		{"Latin-1 below", "10.2.0.0/16\n" + strings.Repeat("10.0.0.0/8 # \xe9\n", 30), isLatin1, "LATIN1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parse(c.text)
			wantInput(t, err, "a.list: "+c.what, "iconv -f "+c.encoding+" -t UTF-8 a.list >a.list.utf8 && mv a.list.utf8 a.list")
			_, _, err = ParseList("stdin", OriginCLI, strings.NewReader(c.text))
			wantInput(t, err, "stdin: "+c.what, "iconv -f "+c.encoding+" -t UTF-8 FILE >FILE.utf8 && mv FILE.utf8 FILE")
		})
	}
}
