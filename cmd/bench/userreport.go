// This file prints what README has of the commands, as it stands there.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// userTable prints a row for each thing that was measured of a list of each length.
func userTable(out io.Writer, directory string) error {
	fmt.Fprintln(out, "\n| prefixes | | ipset | nftables | xdpallow |\n| --- | --- | --- | --- | --- |")
	for _, p := range []struct {
		part string
		n    int
	}{{partUser, 100_000}, {partMillion, 1_000_000}} {
		if _, err := os.Stat(filepath.Join(directory, p.part+".jsonl")); err != nil {
			continue // not measured
		}
		s, err := readSamples(directory, p.part)
		if err != nil {
			return err
		}
		of := func(cell string) string {
			value, found := s.median(fmt.Sprint(p.n), cell)
			switch {
			case !found:
				return ""
			case value >= 10:
				return fmt.Sprintf("%.0f s", value)
			}
			return fmt.Sprintf("%.2g s", value)
		}
		settled, _ := s.median(fmt.Sprint(p.n), "settled bytes an entry")
		peak, _ := s.median(fmt.Sprint(p.n), "replace: peak bytes an entry")
		readers, _ := s.median(fmt.Sprint(p.n), "readers: bytes an entry")
		for _, row := range [][5]string{
			{short(p.n), "load", of("ipset restore"), of("nft add element"), of("first load")},
			{"", "change 1 % by `replace`", "", "", of("replace 1 %")},
			{"", "list, as lines", of("ipset list"), of("nft list"), of("list -o text")},
			{"", "list, as a table with its use", "", "", of("list")},
			{"", "add one", "", "", of("add one")},
			{"", "let everybody in: `mode audit`", "", "", of("mode audit")},
			{"", "suspend an owner of 200", "", "", of("suspend")},
			{"", "the daemon keeps, an entry", "", "", fmt.Sprintf("%.0f B, %.0f B in a replace", settled, peak)},
			{"", "with 8 readers who read nothing", "", "", fmt.Sprintf("%.0f B", readers)},
		} {
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", row[0], row[1], row[2], row[3], row[4])
		}
	}
	return nil
}
