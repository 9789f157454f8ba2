package main

// This file prints tables. text/tabwriter would do but for two things: it
// aligns all columns to one side, and it holds a whole list in memory as text.

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// table writes rows with two blanks between columns. It goes through rows
// twice, for the widths and for the text. The last right columns hold numbers.
// No line ends in blanks.
func table(w io.Writer, right int, rows iter.Seq[[]string]) error {
	var widths []int
	for row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(printable(cell)))
		}
	}
	out := bufio.NewWriter(w)
	for row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = printable(cell)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if i >= len(widths)-right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
	return out.Flush() // carries the first error of the writes above
}

// nothing is what stands in the place of a table that has no row: a header alone looks
// like an answer that is still to come.
func (c *call) nothing(what string) error {
	_, err := fmt.Fprintln(c.out, what)
	return err
}

// printable keeps what others wrote (a note, a kernel message) from moving
// the cursor of whoever reads it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// or is s, or a dash for nothing.
func or(s, dash string) string {
	if s == "" {
		return dash
	}
	return s
}
