package main

// This file prints tables. text/tabwriter would do but for two things: it
// aligns all columns to one side, and it holds a whole list in memory as text.

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// table writes rows with two blanks between columns. It goes through rows
// twice, for the widths and for the text. The last right columns hold numbers.
// No line ends in blanks.
func table(w io.Writer, right int, rows iter.Seq[[]string]) error {
	return tabulate(w, right, 0, rows)
}

// fitted is table on a terminal of so many columns; 0 is none. Long values are shortened
// there, because lines that wrap hide which value stands in which column.
func fitted(w io.Writer, columns int, rows iter.Seq[[]string]) error {
	return tabulate(w, 0, columns, rows)
}

func tabulate(w io.Writer, right, columns int, rows iter.Seq[[]string]) error {
	var widths []int
	var heading []string
	for row := range rows {
		if heading == nil {
			heading = row
		}
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(policy.Printable(cell)))
		}
	}
	if columns > 0 {
		fit(widths, heading, columns)
	}
	out := bufio.NewWriter(w)
	for row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = brief(policy.Printable(cell), widths[i])
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

// texts are the headings of what people wrote or may write: only that is shortened. Half
// a prefix or half a time would be another one.
var texts = []string{"OWNER", "SERVICES", "ORIGIN", "NOTE", "DROPPED", "LIMIT", "SUSPENDED", "COMMAND", "REASON"}

// leastForText is what is left of a text at least, in characters.
const leastForText = 12

// fit takes from the widest texts until a row has columns characters, or until no text has
// more than leastForText. The first column tells the rows apart, and stays.
func fit(widths []int, heading []string, columns int) {
	over := 2*(len(widths)-1) - columns
	for _, width := range widths {
		over += width
	}
	for ; over > 0; over-- {
		widest := 0
		for i := 1; i < len(heading); i++ {
			if slices.Contains(texts, heading[i]) && widths[i] > leastForText && (widest == 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest == 0 {
			return
		}
		widths[widest]--
	}
}

// nothing is what stands in the place of a table that has no row: a header alone looks
// like an answer that is still to come.
func (c *call) nothing(what string) error {
	_, err := fmt.Fprintln(c.out, what)
	return err
}
