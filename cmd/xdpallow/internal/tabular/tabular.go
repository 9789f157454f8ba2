// Package tabular prints rows in columns. text/tabwriter would do but for two things: it aligns
// all columns to one side, and it holds a whole list in memory as text.
package tabular

import (
	"bufio"
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Widths are how wide the columns of a table are, in characters.
type Widths struct {
	of      []int
	heading []string
	filled  []bool // has a cell that is no dash
	leftOut []bool
	Rows    int // with the heading
}

// Measure goes through rows, of which the first one is the heading.
func Measure(rows iter.Seq[[]string]) (w Widths) {
	for row := range rows {
		if w.Rows++; w.Rows == 1 {
			w.heading = row
		}
		for i, cell := range row {
			if i == len(w.of) {
				w.of, w.filled, w.leftOut = append(w.of, 0), append(w.filled, false), append(w.leftOut, false)
			}
			w.of[i] = max(w.of[i], utf8.RuneCountInString(policy.Printable(cell)))
			w.filled[i] = w.filled[i] || w.Rows > 1 && cell != "-"
		}
	}
	return w
}

// LeaveOut leaves the column with that heading out, if it has nothing but dashes.
func (w Widths) LeaveOut(heading string) {
	i := slices.Index(w.heading, heading)
	w.leftOut[i] = !w.filled[i]
}

// Write writes rows with two blanks between columns and none at the end of a line. The last
// right columns hold numbers. On a terminal of so many columns long texts are shortened, because
// lines that wrap hide which value stands in which column; 0 is none. An error is that of out.
func (w Widths) Write(out *bufio.Writer, right, columns int, rows iter.Seq[[]string]) error {
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
			cell = Brief(policy.Printable(cell), w.of[i])
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

// fit leaves out columns that say nothing, and then takes from the widest texts, until a row has
// columns characters, or until no text has more than leastForText. The first column tells the rows
// apart, and stays.
func (w Widths) fit(columns int) {
	over := -2 - columns
	for i, width := range w.of {
		if !w.leftOut[i] {
			over += 2 + width
		}
	}
	for i := 1; i < len(w.of) && over > 0; i++ {
		if !w.filled[i] && !w.leftOut[i] {
			w.leftOut[i] = true
			over -= 2 + w.of[i]
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

// Brief keeps a long text from tearing a table apart.
func Brief(text string, room int) string {
	if utf8.RuneCountInString(text) <= room {
		return text
	}
	return strings.TrimSpace(string([]rune(text)[:room-1])) + "…"
}
