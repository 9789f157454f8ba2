// Command bench measures what a packet costs, beside programs that do less and filters
// that do the same, and holds the figures against what was promised. `make bench` runs
// it; the raw results are kept under testdata/bench, and the report and the chart are
// drawn from those. Regenerate its programs with `make generate`.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

func main() {
	quick := flag.Bool("quick", false, "few rounds: for a look, not for a figure")
	count := flag.Int("rounds", 0, "the rounds of each part; 0 is as many as a figure needs, or a look")
	only := flag.String("only", "", "the parts to run, of "+strings.Join(partNames(), ",")+"; all if empty, none if -")
	picture := flag.String("chart", "", "where the chart is drawn, an SVG")
	directory := flag.String("raw", "testdata/bench", "where the raw results are kept")
	other := flag.String("against", "", "compare the drop path with the programs in this folder, the bpf of another tree, and nothing else")
	flag.StringVar(&shipped, "xdpallow", shipped, "the command that the user parts measure")
	lists := flag.String("prefixes", "15,100000,1000000", "for -against: the sizes of the lists")
	flag.Parse()
	if err := child(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if flag.NArg() > 0 {
		return
	}
	if *other != "" {
		if err := runAgainst(*other, *lists, *quick); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := bench(*directory, *only, *picture, *quick, *count); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// child is what this program does for itself as another process.
func child(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "server":
		return serve(args[1])
	case len(args) > 2 && args[0] == "client":
		return ask(args[1], args[2:])
	}
	return nil
}

// part is one kind of measurement, with raw results of its own.
type part struct {
	name, unit    string
	measure       func(rounds int) (samples, error)
	rounds, hasty int // with hasty 0 a quick run leaves the part out, unless it is named
}

// run measures on a thread that ends with it, and with it its priority.
func (p part) run(rounds int) (s samples, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		s, err = p.measure(rounds)
	}()
	<-done
	return s, err
}

// runAgainst is against on a thread of its own, like a part.
func runAgainst(other, lists string, quick bool) error {
	var prefixes []int
	for _, text := range strings.Split(lists, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-prefixes %s: %q is no size of a list", lists, text)
		}
		prefixes = append(prefixes, n)
	}
	rounds := pairs
	if quick {
		rounds = hastyPairs
	}
	_, err := part{measure: func(rounds int) (samples, error) { return nil, against(os.Stdout, other, prefixes, rounds) }}.run(rounds)
	return err
}

func parts() []part {
	return []part{
		{partMicro, "ns a packet", micro, 21, 3},
		{partPublish, "s; bytes", publish, 3, 1},
		{partLive, "ns of softirq a packet", live, 9, 2},
		{partClient, "as the cell says", client, 21, 4},
		{partUser, "s; bytes", user(100_000), 5, 1},
		{partOwner, "as the group says", owner, 7, 2},
		{partMillion, "s; bytes", user(1_000_000), 5, 0},
	}
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func bench(directory, only, picture string, quick bool, count int) error {
	if only != "-" {
		if err := writeFacts(directory); err != nil {
			return err
		}
	}
	for _, p := range parts() {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		rounds := p.rounds
		if quick {
			rounds = p.hasty
		}
		if rounds == 0 && only == "" {
			continue
		}
		if count > 0 {
			rounds = count
		}
		s, err := p.run(max(rounds, 1))
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := s.write(directory, p.name); err != nil {
			return err
		}
	}
	if picture != "" {
		if err := chart(picture, directory); err != nil {
			return err
		}
	}
	return report(os.Stdout, directory)
}
