package main

// This file prints tables.

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/tabular"
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
	if err := tabular.Measure(rows).Write(out, right, columns, rows); err != nil {
		return err
	}
	return out.Flush()
}

// nothing prints what in place of a table without rows: a header alone looks like an answer
// that is still to come.
func (c *call) nothing(what string) error {
	_, err := fmt.Fprintln(c.out, what)
	return err
}
