package policy

import "fmt"

// This file counts things in messages: in reports, in hints, on the screen of top.

// Count returns n and the word for so many things: "1 prefix", "2 prefixes".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
