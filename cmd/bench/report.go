// This file prints the figures, from the raw results alone.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// report prints must, goal and figure side by side, and then every cell.
func report(out io.Writer, directory string) error {
	machine, err := os.ReadFile(filepath.Join(directory, factsFile))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", machine)
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "must\tgoal\tfigure\tover empty\t\t")
	for _, c := range claims() {
		s, err := readSamples(directory, c.part)
		if err != nil {
			return err
		}
		figure, measured := s.ratio(c.group, c.cell, c.over)
		if !measured {
			continue
		}
		sign, word := "≤", "missed"
		if c.atLeast {
			sign = "≥"
		}
		if c.holds(figure, c.goal) {
			word = "goal"
		} else if c.holds(figure, c.must) {
			word = "must"
		}
		fmt.Fprintf(t, "%s %.2f\t%s %.2f\t%.2f\t%s\t%s\t  %s\n", sign, c.must, sign, c.goal, figure, overEmpty(s, c), word, c.text)
	}
	t.Flush()
	if err := userTable(out, directory); err != nil {
		return err
	}
	return cells(out, directory)
}

// overEmpty is both sides of a claim over the empty program.
func overEmpty(s samples, c claim) string {
	for _, empty := range []string{"empty", emptyDrop.name} {
		if a, ok := s.ratio(c.group, c.cell, empty); ok {
			b, _ := s.ratio(c.group, c.over, empty)
			return fmt.Sprintf("%.2f : %.2f", a, b)
		}
	}
	return ""
}

// cells prints the median and the least of every cell.
func cells(out io.Writer, directory string) error {
	for _, p := range parts() {
		s, err := readSamples(directory, p.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s (%s): median, least\n", p.name, p.unit)
		t := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
		var seen []string
		for _, one := range s {
			if id := one.Group + "/" + one.Cell; !slices.Contains(seen, id) {
				seen = append(seen, id)
				middle, _ := s.median(one.Group, one.Cell)
				fmt.Fprintf(t, "%s\t%s\t%.4g\t%.4g\t\n", one.Group, one.Cell, middle, s.least(one.Group, one.Cell))
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
