// This file draws the chart for README, from the raw results alone: the live flood, a
// bar for each filter and size of list, on a logarithmic scale.
package main

import (
	"fmt"
	"math"
	"os"
	"strings"
)

const (
	chartWidth, barHeight    = 930, 18
	barsFrom, barsTo         = 230.0, 850.0
	leastShown, mostShown    = 10.0, 10_000.0 // ns
	paleBar, ourBar, gridInk = "#b6c2cf", "#54aeff", "#d8dee4"
)

func chart(file, directory string) error {
	s, err := readSamples(directory, partLive)
	if err != nil {
		return err
	}
	var b strings.Builder
	y := 64
	for _, n := range liveSizes {
		fmt.Fprintf(&b, "<text x=\"24\" y=\"%d\" font-weight=\"600\" fill=\"#1f2328\">%s prefixes</text>\n", y+13, short(n))
		y += 24
		for _, f := range []filter{emptyDrop, ourFilter, nftNetdev, nftInet, ipsetRaw, xdpFilter, noFilter} {
			ns, measured := s.median(fmt.Sprint(n), f.name)
			if measured {
				bar(&b, y, f.name, ns)
				y += barHeight + 6
			}
		}
		y += 10
	}
	return os.WriteFile(file, []byte(frameOf(y+16, b.String())), 0o644)
}

func bar(b *strings.Builder, y int, name string, ns float64) {
	ink := paleBar
	if name == ourFilter.name {
		name, ink = "xdpallow", ourBar
	}
	fmt.Fprintf(b, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"end\" fill=\"#1f2328\">%s</text>\n", barsFrom-10, y+13, name)
	fmt.Fprintf(b, "<rect x=\"%.0f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"3\" fill=\"%s\"/>\n", barsFrom, y, at(ns)-barsFrom, barHeight, ink)
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" fill=\"#57606a\">%.0f ns</text>\n", at(ns)+8, y+13, ns)
}

// at is where a value is on the scale.
func at(ns float64) float64 {
	ns = min(max(ns, leastShown), mostShown)
	return barsFrom + (barsTo-barsFrom)*math.Log10(ns/leastShown)/math.Log10(mostShown/leastShown)
}

func frameOf(height int, bars string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"ui-sans-serif, system-ui, sans-serif\" font-size=\"13\">\n", chartWidth, height)
	b.WriteString("<title>What dropping a packet of a flood costs</title>\n")
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#ffffff\"/>\n", chartWidth, height)
	b.WriteString("<text x=\"24\" y=\"34\" font-size=\"16\" font-weight=\"600\" fill=\"#1f2328\">Softirq time to drop a SYN from a random source (log scale)</text>\n")
	for ns := leastShown; ns <= mostShown; ns *= 10 {
		fmt.Fprintf(&b, "<path d=\"M%.1f 56V%d\" stroke=\"%s\"/>\n", at(ns), height-20, gridInk)
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" font-size=\"11\" text-anchor=\"middle\" fill=\"#57606a\">%g ns</text>\n", at(ns), height-6, ns)
	}
	return b.String() + bars + "</svg>\n"
}
