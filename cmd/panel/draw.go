package main

// This file draws the answer of Prometheus as the panel does: the reasons on top of each
// other, in packets a second.

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// read reads the matrix that a range query is answered with.
func read(from io.Reader) ([]series, error) {
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric struct{ Reason, Verdict string }
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(from).Decode(&answer); err != nil || answer.Error != "" {
		return nil, fmt.Errorf("read the answer of prometheus: %s %w", answer.Error, err)
	}
	var all []series
	for _, r := range answer.Data.Result {
		one := series{r.Metric.Reason, map[int64]float64{}}
		for _, v := range r.Values {
			at, _ := v[0].(float64)
			value, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if err != nil {
				return nil, fmt.Errorf("read the answer of prometheus: %w", err)
			}
			one.values[int64(at)] = value
		}
		all = append(all, one)
	}
	return all, nil
}

const (
	width, height            = 930, 330
	left, right, top, bottom = 70.0, 900.0, 64.0, 268.0
	ink, paleInk, gridInk    = "#1f2328", "#57606a", "#d8dee4"
)

// inks are those of packet-path.svg: the reason with the most packets first.
var inks = []string{"#ff8182", "#54aeff", "#4ac26b", "#b6c2cf", "#d4a72c"}

func draw(all []series, length time.Duration) string {
	most := func(s series) float64 { return slices.Max(append(slices.Collect(maps.Values(s.values)), 0)) }
	slices.SortFunc(all, func(a, b series) int { return cmp.Compare(most(b), most(a)) })
	var last int64
	for _, s := range all {
		last = max(last, slices.Max(append(slices.Collect(maps.Keys(s.values)), 0)))
	}
	seconds := int(length / time.Second)
	sums := make([]float64, seconds+1) // of what is drawn already
	var layers [][]float64
	for _, s := range all {
		layers = append(layers, slices.Clone(sums))
		for i := range sums {
			sums[i] += s.values[last-int64(seconds-i)]
		}
	}
	step, ceiling := scale(slices.Max(sums))
	x := func(i int) float64 { return left + (right-left)*float64(i)/float64(seconds) }
	y := func(rate float64) float64 { return bottom - (bottom-top)*rate/ceiling }

	var b strings.Builder
	header(&b)
	for rate := 0.0; rate <= ceiling; rate += step {
		fmt.Fprintf(&b, "<path d=\"M%.0f %.1fH%.0f\" stroke=\"%s\"/>\n", left, y(rate), right, gridInk)
		fmt.Fprintf(&b, "<text x=\"%.0f\" y=\"%.1f\" font-size=\"11\" text-anchor=\"end\" fill=\"%s\">%s</text>\n", left-8, y(rate)+4, paleInk, short(rate))
	}
	for i := 0; i <= seconds; i += max(1, seconds/6) {
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%.0f\" font-size=\"11\" text-anchor=\"middle\" fill=\"%s\">%d s</text>\n", x(i), bottom+18, paleInk, i)
	}
	at := left
	for n, s := range all {
		color := inks[n%len(inks)]
		fmt.Fprintf(&b, "<path fill=\"%s\" fill-opacity=\"0.55\" stroke=\"%s\" d=\"M", color, color)
		above := layers[n]
		for i := range above {
			fmt.Fprintf(&b, "%.1f %.1f ", x(i), y(above[i]+s.values[last-int64(seconds-i)]))
		}
		for i := seconds; i >= 0; i-- {
			fmt.Fprintf(&b, "%.1f %.1f ", x(i), y(above[i]))
		}
		b.WriteString("z\"/>\n")
		fmt.Fprintf(&b, "<rect x=\"%.0f\" y=\"%.0f\" width=\"12\" height=\"12\" rx=\"3\" fill=\"%s\"/>\n", at, bottom+34, color)
		fmt.Fprintf(&b, "<text x=\"%.0f\" y=\"%.0f\" fill=\"%s\">%s, at most %s/s</text>\n", at+18, bottom+45, ink, s.reason, short(most(s)))
		at += 250
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func header(b *strings.Builder) {
	fmt.Fprintf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"ui-sans-serif, system-ui, sans-serif\" font-size=\"13\">\n", width, height)
	b.WriteString("<title>The main panel of the dashboard during an attack</title>\n")
	fmt.Fprintf(b, "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#ffffff\"/>\n", width, height)
	fmt.Fprintf(b, "<text x=\"24\" y=\"34\" font-size=\"16\" font-weight=\"600\" fill=\"%s\">%s, packets a second, from a scrape each second</text>\n", ink, mainPanel)
}

// scale returns the distance of grid lines and the highest one: four or five, at round
// numbers.
func scale(most float64) (step, ceiling float64) {
	step = math.Pow(10, math.Floor(math.Log10(max(most, 1))))
	for _, part := range []float64{0.1, 0.2, 0.25, 0.5, 1, 2} {
		if most/(part*step) <= 5 {
			step *= part
			break
		}
	}
	return step, step * math.Ceil(max(most, 1)/step)
}

func short(rate float64) string {
	if rate >= 1000 {
		return strconv.FormatFloat(math.Round(rate/100)/10, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(math.Round(rate), 'f', -1, 64)
}
