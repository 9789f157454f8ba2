package top

// This file is a table that fits: long texts are clipped as far as they stay of
// use, then columns that matter less go, then all is clipped. What is left over
// goes to the sparkline.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/xdpallow/xdpallow/loader/policy"
)

type column struct {
	name  string
	right bool // numbers
	least int  // it may be clipped, and down to so many cells is still of use
	rank  int  // when it is too narrow, columns go by falling rank; 0 stays
}

type cell struct {
	text string
	tint tint
}

type row struct {
	cells []cell
	turn  int      // which rows stay in a table that is cut: the least, then the first
	line  *history // its sparkline
	tint  tint     // of the sparkline
}

type grid struct {
	columns []column
	rows    []row
	spark   string // heading of the sparklines, "" when there are none
	late    int    // see spark
}

const (
	gap       = 2
	leastText = 6
)

// draw returns a heading and n rows, in width cells. A heading that counts
// ("2/17") says that there are more rows.
func (g grid) draw(p paint, width, n int) []string {
	rows, count := g.choose(n), ""
	if len(rows) < len(g.rows) {
		count = fmt.Sprintf(" %d/%d", len(rows), len(g.rows))
	}
	widths, line := g.fit(rows, width, len(count))
	var heading []string
	for i, w := range widths {
		if i == 0 {
			heading = append(heading, pad(clip(g.columns[0].name, w-len(count))+count, w, false))
		} else if w > 0 {
			heading = append(heading, pad(g.columns[i].name, w, g.columns[i].right))
		}
	}
	if line > 0 {
		heading = append(heading, g.spark)
	}
	lines := []string{p.text(faint, clip(strings.Join(heading, blanks(gap)), width))}
	for _, r := range rows {
		var parts []string
		for i, w := range widths {
			if w > 0 {
				parts = append(parts, p.text(r.cells[i].tint, pad(policy.Printable(r.cells[i].text), w, g.columns[i].right)))
			}
		}
		if line > 0 {
			parts = append(parts, p.text(r.tint, spark(*r.line, g.late, line)))
		}
		lines = append(lines, clip(strings.Join(parts, blanks(gap)), width))
	}
	return lines
}

// choose returns n rows in their order.
func (g grid) choose(n int) []row {
	if n >= len(g.rows) {
		return g.rows
	}
	turns := make([]int, len(g.rows))
	for i, r := range g.rows {
		turns[i] = r.turn*len(g.rows) + i
	}
	last := slices.Sorted(slices.Values(turns))[n]
	var rows []row
	for i, r := range g.rows {
		if turns[i] < last {
			rows = append(rows, r)
		}
	}
	return rows
}

// fit returns the width of each column, 0 for one that goes, and of the sparkline.
// count is how many cells the first heading needs beside its name.
func (g grid) fit(rows []row, width, count int) ([]int, int) {
	full := make([]int, len(g.columns))
	for i, c := range g.columns {
		full[i] = ansi.StringWidth(c.name)
		if i == 0 {
			full[i] += count
		}
		for _, r := range rows {
			full[i] = max(full[i], ansi.StringWidth(policy.Printable(r.cells[i].text)))
		}
	}
	var lines []int
	if g.spark != "" {
		lines = []int{20, 10}
	}
	for _, lines := range [][]int{lines, {0}} { // any sparkline is worth more than a column that can go
		for rank := g.lowest(); rank >= 0; rank-- {
			for _, line := range lines {
				if widths, line, ok := g.try(full, rank, width, line); ok {
					return widths, line
				}
			}
		}
	}
	widths := g.shrunk(full, 0, width)
	for over(widths, width) > 0 { // too narrow for any of it
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= leastText {
			break
		}
		widths[widest]--
	}
	return widths, 0
}

// try is fit with the columns up to rank and at least line cells of sparkline.
func (g grid) try(full []int, rank, width, line int) ([]int, int, bool) {
	room := width
	if line > 0 {
		room -= gap + line
	}
	widths := g.shrunk(full, rank, room)
	left := -over(widths, room)
	if line > 0 {
		line = min(slots, line+left)
	}
	return widths, line, left >= 0
}

// lowest is the rank of the column that goes first.
func (g grid) lowest() (rank int) {
	for _, c := range g.columns {
		rank = max(rank, c.rank)
	}
	return rank
}

// shrunk is full without columns of a higher rank, clipped towards width as far
// as is of use, the widest first.
func (g grid) shrunk(full []int, rank, width int) []int {
	widths := slices.Clone(full)
	for i, c := range g.columns {
		if c.rank > rank {
			widths[i] = 0
		}
	}
	for over(widths, width) > 0 {
		widest := -1
		for i, c := range g.columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// over is by how much the columns pass width.
func over(widths []int, width int) int {
	used := -gap
	for _, w := range widths {
		if w > 0 {
			used += w + gap
		}
	}
	return used - width
}

func blanks(n int) string { return strings.Repeat(" ", max(0, n)) }
