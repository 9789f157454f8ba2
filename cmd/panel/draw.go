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
	"time"

	"github.com/xdpallow/xdpallow/cmd/internal/svg"
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

const left, right, top, bottom = 70.0, 900.0, 64.0, 268.0

// inks are those of packet-path.svg: the reason with the most packets first.
var inks = []string{"#ff8182", "#54aeff", "#4ac26b", "#b6c2cf", "#d4a72c"}

func draw(all []series, length time.Duration) []byte {
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

	var sheet svg.Sheet
	for rate := 0.0; rate <= ceiling; rate += step {
		sheet.Grid(left, y(rate), right-left, 0)
		sheet.Text(left-8, y(rate)+4, svg.Beside, svg.PaleInk, short(rate))
	}
	for i := 0; i <= seconds; i += max(1, seconds/6) {
		sheet.Text(x(i), bottom+18, svg.Below, svg.PaleInk, fmt.Sprintf("%d s", i))
	}
	at := left
	for n, s := range all {
		var points []float64
		above := layers[n]
		for i := range above {
			points = append(points, x(i), y(above[i]+s.values[last-int64(seconds-i)]))
		}
		for i := seconds; i >= 0; i-- {
			points = append(points, x(i), y(above[i]))
		}
		ink := inks[n%len(inks)]
		sheet.Area(ink, points...)
		sheet.Bar(at, bottom+34, 12, 12, ink)
		sheet.Text(at+18, bottom+45, "", svg.Ink, fmt.Sprintf("%s, at most %s/s", s.reason, short(most(s))))
		at += 250
	}
	return sheet.Picture(330, "The main panel of the dashboard during an attack", mainPanel+", packets a second, from a scrape each second")
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
