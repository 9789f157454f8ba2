package policy

import (
	"fmt"
	"strings"
	"unicode"
)

// This file has what messages share: in reports, in hints, on the screen of top.

// Count returns n and the word for so many things: "1 prefix", "2 prefixes".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Printable keeps what others wrote (a note, a kernel message) from moving the
// cursor or changing the colour of whoever reads it.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
