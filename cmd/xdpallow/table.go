package main

// This file prints tables. text/tabwriter would do but for two things: it
// aligns all columns to one side, and it holds a whole list in memory as text.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"slices"
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
	out := bufio.NewWriter(w)
	if err := measure(rows).write(out, right, columns, rows); err != nil {
		return err
	}
	return out.Flush()
}

// widths are how wide the columns of a table are, in characters.
type widths struct {
	of      []int
	heading []string
	filled  []bool // has a cell that is no dash
	leftOut []bool
	rows    int // with the heading
}

// measure goes through rows, of which the first one is the heading.
func measure(rows iter.Seq[[]string]) (w widths) {
	for row := range rows {
		if w.rows++; w.rows == 1 {
			w.heading = row
		}
		for i, cell := range row {
			if i == len(w.of) {
				w.of, w.filled, w.leftOut = append(w.of, 0), append(w.filled, false), append(w.leftOut, false)
			}
			w.of[i] = max(w.of[i], utf8.RuneCountInString(policy.Printable(cell)))
			w.filled[i] = w.filled[i] || w.rows > 1 && cell != "-"
		}
	}
	return w
}

// leaveOut leaves the column with that heading out, if it has nothing but dashes.
func (w widths) leaveOut(heading string) {
	i := slices.Index(w.heading, heading)
	w.leftOut[i] = !w.filled[i]
}

// write writes rows. An error is that of out.
func (w widths) write(out *bufio.Writer, right, columns int, rows iter.Seq[[]string]) error {
	if columns > 0 {
		w.fit(columns)
	}
	var line []byte
	for row := range rows {
		line = line[:0]
		for i, cell := range row {
			if w.leftOut[i] {
				continue
			}
			cell = brief(policy.Printable(cell), w.of[i])
			pad := w.of[i] - utf8.RuneCountInString(cell)
			if i > 0 {
				line = append(line, "  "...)
			}
			if i >= len(w.of)-right {
				line = append(blanks(line, pad), cell...)
			} else {
				line = blanks(append(line, cell...), pad)
			}
		}
		out.Write(bytes.TrimRight(line, " "))
		if err := out.WriteByte('\n'); err != nil {
			return err
		}
	}
	return nil
}

func blanks(line []byte, n int) []byte {
	for range n {
		line = append(line, ' ')
	}
	return line
}

// texts are the headings of what people wrote or may write: only that is shortened. Half
// a prefix or half a time would be another one.
var texts = []string{"OWNER", "SERVICES", "ORIGIN", "NOTE", "DROPPED", "LIMIT", "SUSPENDED", "COMMAND", "REASON"}

// leastForText is what is left of a text at least, in characters.
const leastForText = 12

// fit takes from the widest texts until a row has columns characters, or until no text has
// more than leastForText. The first column tells the rows apart, and stays.
func (w widths) fit(columns int) {
	over := -2 - columns
	for i, width := range w.of {
		if !w.leftOut[i] {
			over += 2 + width
		}
	}
	for ; over > 0; over-- {
		widest := 0
		for i := 1; i < len(w.heading); i++ {
			if slices.Contains(texts, w.heading[i]) && w.of[i] > leastForText && !w.leftOut[i] && (widest == 0 || w.of[i] > w.of[widest]) {
				widest = i
			}
		}
		if widest == 0 {
			return
		}
		w.of[widest]--
	}
}

// nothing prints what in place of a table without rows: a header alone looks like an answer
// that is still to come.
func (c *call) nothing(what string) error {
	_, err := fmt.Fprintln(c.out, what)
	return err
}
