package top

// This file draws a rate over time in one line.

import (
	"math"
	"strings"
)

var bars = []rune("▁▂▃▄▅▆▇█")

// spark draws h, and late slots without an answer after it, in at most width
// cells, the latest last. Where there are fewer cells than slots a cell is the
// highest of several, and which ones stays the same from one second to the next.
// The lowest bar is a rate of nothing, a blank is no measurement, and the highest
// bar is the highest rate of this row.
func spark(h history, late, width int) string {
	if width <= 0 || h.count == 0 {
		return ""
	}
	if late > 0 {
		h = h.push(unknown, late-1)
	}
	per := (slots + width - 1) / width
	first := h.count - slots // number of the slot that rates begins with
	var cells []float64
	last := math.MinInt
	for i, rate := range h.rates {
		if cell := floorDiv(first+i, per); cell != last {
			cells, last = append(cells, rate), cell
		} else if n := len(cells) - 1; math.IsNaN(cells[n]) || rate > cells[n] {
			cells[n] = rate
		}
	}
	cells = cells[max(0, len(cells)-width):]
	highest := 0.0
	for _, rate := range cells {
		if rate > highest { // never for what is unknown
			highest = rate
		}
	}
	var line strings.Builder
	for _, rate := range cells {
		line.WriteRune(bar(rate, highest))
	}
	return line.String()
}

func bar(rate, highest float64) rune {
	switch {
	case math.IsNaN(rate):
		return ' '
	case rate == 0:
		return bars[0]
	}
	level := int(math.Ceil(rate / highest * float64(len(bars)-1)))
	return bars[min(max(level, 1), len(bars)-1)]
}

func floorDiv(a, b int) int {
	return int(math.Floor(float64(a) / float64(b)))
}
