// This file names the encoding of a text that is not UTF-8: spreadsheets and old editors write
// others, and "invalid UTF-8" tells nobody what to do.

package policy

import (
	"bytes"
	"unicode/utf8"
)

// The encodings by the names that iconv has for them.
const (
	withMark     = "UTF-16" // its byte order mark says which
	littleEndian = "UTF-16LE"
	bigEndian    = "UTF-16BE"
	latin1       = "LATIN1"
)

// CheckUTF8 returns an *InputError where text, a whole text or a line of it, is in another
// encoding than UTF-8, with a command that converts it as the hint. file is named in it; it
// may be "stdin". What is no text in any encoding is for the parser to refuse.
func CheckUTF8(file string, text []byte) error {
	encoding := foreign(text)
	if encoding == "" {
		return nil
	}
	path, what := file, encoding
	if file == "stdin" {
		path = "FILE"
	}
	if encoding == latin1 { // nobody can tell the 8-bit encodings apart
		what = "Latin-1 or another 8-bit encoding"
	}
	return inputErrorf(file, "iconv -f "+encoding+" -t UTF-8 "+path+" >"+path+".utf8 && mv "+path+".utf8 "+path, "the text is %s, not UTF-8", what)
}

// foreign returns the encoding of text where that is not UTF-8; "" where it is, and where
// text is no text at all.
func foreign(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return withMark
	case halfNull(text, 1):
		return littleEndian
	case halfNull(text, 0):
		return bigEndian
	case utf8.Valid(text):
		return ""
	}
	for _, c := range text {
		if c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
			return ""
		}
	}
	return latin1
}

// halfNull reports whether the bytes at odd or even places are zero, and the others not, as
// of ASCII in UTF-16.
func halfNull(text []byte, at int) bool {
	if len(text) < 2 {
		return false
	}
	for i, c := range text[:len(text)&^1] {
		if (c == 0) != (i%2 == at) {
			return false
		}
	}
	return true
}
