package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// peak runs a command, and returns the most memory that it was seen to have, in KiB. The kernel's own
// figure at the end has that of this process in it.
func (h *host) peak(stdout string, args ...string) (most int) {
	h.tb.Helper()
	out, err := os.Create(stdout)
	h.check(err)
	defer out.Close()
	var mistakes strings.Builder
	cmd := exec.Command(binary, h.where(args)...)
	cmd.Stdout, cmd.Stderr = out, &mistakes
	cmd.Env = append(os.Environ(), "GOGC=10") // what it holds, and little that it has held
	h.check(h.lab.Host.Start(cmd))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil && cmd.ProcessState.ExitCode() != 1 { // check: somebody is dropped
				h.tb.Fatalf("%v: %v: %s", args, err, mistakes.String())
			}
			return most
		case <-time.After(time.Millisecond):
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if _, peak, found := strings.Cut(string(text), "VmHWM:"); found {
				n := 0
				_, _ = fmt.Sscan(peak, &n)
				most = max(most, n)
			}
		}
	}
}

// Promise: a command that passes a list on does not hold it: among 60,000 entries with long notes it
// takes hardly more memory than among 60, though what it writes has megabytes.
func TestCommandsHoldNoList(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run("--allow-empty")
	addresses := filepath.Join(h.dir, "addresses")
	fill := func(entries int) {
		var list, asked strings.Builder
		for i := range entries {
			fmt.Fprintf(&list, "10.%d.%d.%d owner=o%d note=%q\n", i>>16, i>>8&0xff, i&0xff, i%400, strings.Repeat("n", 200))
			fmt.Fprintf(&asked, "10.%d.%d.%d\n", i>>16, i>>8&0xff, i&0xff)
		}
		h.fed(list.String(), "replace", "-", "-q", "--force-shrink")
		h.check(os.WriteFile(addresses, []byte(asked.String()), 0o600))
	}
	commands := [][]string{
		{"export"},
		{"export", filepath.Join(h.dir, "kept")},
		{"export", "-o", "json"},
		{"list"},
		{"list", "-o", "text"},
		{"list", "-o", "json"},
		{"list", "-o", "nginx"},
		{"list", "-o", "haproxy"},
		{"check", "-f", addresses},
		{"check", "-f", addresses, "-o", "json"},
	}
	var peaks [2][]int
	sizes := []int{60, 120_000}
	for i, entries := range sizes {
		fill(entries)
		for _, args := range commands {
			peaks[i] = append(peaks[i], h.peak(filepath.Join(h.dir, "out"), args...))
		}
	}
	const slack, address = 8 << 10, 128 // KiB and bytes, what the collector leaves on a busy machine among them
	for i, args := range commands {
		few, many := peaks[0][i], peaks[1][i]
		t.Logf("%s: %d KiB among %d entries, %d KiB among %d", strings.Join(args, " "), few, sizes[0], many, sizes[1])
		most := few + slack
		if args[0] == "check" { // which looks for mistakes in all of them first
			most += sizes[1] * address >> 10
		}
		if many > most {
			t.Errorf("%s: %d KiB have become %d", strings.Join(args, " "), few, many)
		}
	}
}
