// This file draws the chart for README, from the raw results alone: the live flood, a
// bar for each filter and size of list, on a logarithmic scale.
package main

import (
	"fmt"
	"math"
	"os"

	"github.com/xdpallow/xdpallow/cmd/internal/svg"
)

const (
	barHeight             = 18.0
	barsFrom, barsTo      = 230.0, 850.0
	leastShown, mostShown = 10.0, 10_000.0 // ns
	paleBar, ourBar       = "#b6c2cf", "#54aeff"
)

func chart(file, directory string) error {
	s, err := readSamples(directory, partLive)
	if err != nil {
		return err
	}
	var sheet svg.Sheet
	height := 80.0
	for _, n := range liveSizes {
		height += 34
		for _, f := range shownFilters {
			if _, measured := s.median(fmt.Sprint(n), f.name); measured {
				height += barHeight + 6
			}
		}
	}
	for ns := leastShown; ns <= mostShown; ns *= 10 { // below the bars
		sheet.Grid(at(ns), 56, 0, height-76)
		sheet.Text(at(ns), height-6, svg.Below, svg.PaleInk, fmt.Sprintf("%g ns", ns))
	}
	y := 64.0
	for _, n := range liveSizes {
		sheet.Text(24, y+13, svg.Bold, svg.Ink, short(n)+" prefixes")
		y += 24
		for _, f := range shownFilters {
			if ns, measured := s.median(fmt.Sprint(n), f.name); measured {
				bar(&sheet, y, f.name, ns)
				y += barHeight + 6
			}
		}
		y += 10
	}
	picture := sheet.Picture(height, "What dropping a packet of a flood costs", "Softirq time to drop a SYN from a random source (log scale)")
	return os.WriteFile(file, picture, 0o644)
}

// shownFilters are those of the chart, from the top.
var shownFilters = []filter{emptyDrop, ourFilter, nftNetdev, nftInet, ipsetRaw, xdpFilter, noFilter}

func bar(sheet *svg.Sheet, y float64, name string, ns float64) {
	ink := paleBar
	if name == ourFilter.name {
		name, ink = "xdpallow", ourBar
	}
	sheet.Text(barsFrom-10, y+13, svg.Right, svg.Ink, name)
	sheet.Bar(barsFrom, y, at(ns)-barsFrom, barHeight, ink)
	sheet.Text(at(ns)+8, y+13, "", svg.PaleInk, fmt.Sprintf("%.0f ns", ns))
}

// at is where a value is on the scale.
func at(ns float64) float64 {
	ns = min(max(ns, leastShown), mostShown)
	return barsFrom + (barsTo-barsFrom)*math.Log10(ns/leastShown)/math.Log10(mostShown/leastShown)
}
