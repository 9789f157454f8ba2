package top

// This file shares the height out among what there is to show.

import (
	"cmp"
	"slices"
)

// section is one table, or lines without a heading.
type section struct {
	place   int // where it stands, from the top
	turn    int // when it is its turn to get rows
	heading int // lines beside rows: 1 or 0
	least   int // rows that it gets before others get more
	rows    int
	draw    func(width, rows int) []string
}

// table is a section of g.
func (m model) table(place, turn, least int, g grid) section {
	g.late = m.late()
	return section{
		place: place, turn: turn, heading: 1, least: min(least, len(g.rows)), rows: len(g.rows),
		draw: func(width, rows int) []string { return g.draw(m.paint, width, rows) },
	}
}

// stack draws sections below each other in height lines or fewer: all that fit
// with their least rows, and the rest of the height shared out one by one. It
// returns how many found no place.
func stack(sections []section, width, height int) (lines []string, hidden int) {
	sections = slices.DeleteFunc(sections, func(s section) bool { return s.rows == 0 })
	slices.SortFunc(sections, func(a, b section) int { return cmp.Compare(a.turn, b.turn) })
	given := make([]int, len(sections))
	for i, s := range sections {
		if rows := min(s.least, height-s.heading); rows > 0 {
			given[i] = rows
			height -= rows + s.heading
		}
	}
	shown := len(slices.DeleteFunc(slices.Clone(given), func(rows int) bool { return rows == 0 }))
	airy := height >= 4*shown // where there is plenty, blank lines are worth more than rows
	if airy {
		height -= shown - 1
	}
	for more := true; more; {
		more = false
		for i, s := range sections {
			if height > 0 && given[i] > 0 && given[i] < s.rows {
				given[i]++
				height--
				more = true
			}
		}
	}
	for i := range sections {
		sections[i].rows = given[i]
	}
	airy = airy || height >= shown-1
	slices.SortFunc(sections, func(a, b section) int { return cmp.Compare(a.place, b.place) })
	for _, s := range sections {
		if s.rows == 0 {
			hidden++
			continue
		}
		if airy && len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, s.draw(width, s.rows)...)
	}
	return lines, hidden
}
