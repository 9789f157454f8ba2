// This file keeps what was measured: raw samples in files, from which all figures come.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// sample is one measurement. Samples of one group and round were taken back to back,
// so their ratio is about the programs and not about the speed of the machine.
type sample struct {
	Round int     `json:"round"`
	Group string  `json:"group"`
	Cell  string  `json:"cell"`
	Value float64 `json:"value"` // of the unit that the cell's part has
}

type samples []sample

// write keeps the samples of a part.
func (s samples) write(directory, part string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(directory, part+".jsonl"))
	if err != nil {
		return err
	}
	defer f.Close()
	out := json.NewEncoder(f)
	for _, one := range s {
		if err := out.Encode(one); err != nil {
			return fmt.Errorf("write %s: %w", f.Name(), err)
		}
	}
	return f.Close()
}

// readSamples reads those of a part; none if it was never run.
func readSamples(directory, part string) (s samples, err error) {
	f, err := os.Open(filepath.Join(directory, part+".jsonl"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var one sample
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		s = append(s, one)
	}
	return s, nil
}

// of returns a cell's values by round.
func (s samples) of(group, cell string) map[int]float64 {
	values := map[int]float64{}
	for _, one := range s {
		if one.Group == group && one.Cell == cell {
			values[one.Round] = one.Value
		}
	}
	return values
}

// median of a cell; false if it was not measured.
func (s samples) median(group, cell string) (float64, bool) {
	var values []float64
	for _, v := range s.of(group, cell) {
		values = append(values, v)
	}
	return median(values)
}

// least is a cell's smallest value, from the moment when the machine did least else.
func (s samples) least(group, cell string) float64 {
	return slices.Min(slices.Collect(maps.Values(s.of(group, cell))))
}

// ratio is the median over the rounds of one cell over another of the same group;
// over nothing, of the cell itself.
func (s samples) ratio(group, cell, over string) (float64, bool) {
	if over == "" {
		return s.median(group, cell)
	}
	base := s.of(group, over)
	var ratios []float64
	for round, v := range s.of(group, cell) {
		if base[round] > 0 {
			ratios = append(ratios, v/base[round])
		}
	}
	return median(ratios)
}

func median(values []float64) (float64, bool) {
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2, true
	}
	return values[middle], true
}
