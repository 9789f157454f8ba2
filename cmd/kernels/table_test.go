package main

// This file keeps .github/machines.md: what was run on which kernel and driver, and how it
// went. Each run of the machines writes it anew and fails where it differs.

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	tablePath = "../../.github/machines.md"
	newTable  = "../../build/machines/machines.md"
)

// row is what one machine went through.
type row struct {
	kernel, machine, driver string
	mode                    string // of XDP

	mu     sync.Mutex
	acts   []string // that went well, in order
	failed []string
}

// results are the rows of this run, by kernel and machine.
var results struct {
	sync.Mutex
	rows map[string]*row
}

// record begins the row of a machine.
func record(kernel, machine, driver, mode string) *row {
	r := &row{kernel: kernel, machine: machine, driver: driver, mode: mode}
	results.Lock()
	defer results.Unlock()
	if results.rows == nil {
		results.rows = make(map[string]*row)
	}
	results.rows[r.key()] = r
	return r
}

func (r *row) key() string { return r.kernel + " " + r.machine }

// run runs one act as a test of its own, and records how it went.
func (r *row) run(t *testing.T, name string, do func(t *testing.T)) {
	ran := false // go test may have been asked for other acts
	ok := t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
		ran = true
		do(t)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ran {
		return
	}
	if ok {
		r.acts = append(r.acts, name)
	} else {
		r.failed = append(r.failed, name)
	}
}

func (r *row) String() string {
	result := "ok"
	if len(r.failed) > 0 {
		result = "fails: " + strings.Join(r.failed, ", ")
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", r.kernel, r.machine, r.driver, r.mode, strings.Join(r.acts, ", "), result)
}

const tableHead = `# Machines

What ` + "`make test-machines`" + ` and ` + "`make test-machines-all`" + ` have seen, written by them: the
package, installed on machines under QEMU. On each of them strangers knocked all the time
and customers were served; "Debian" is a host that is booted, operated and rebooted, the others
are drivers. "alone" and arm64 are kernels without a host: there tests of the packages were run.

| kernel | machine | driver | XDP | through | result |
| --- | --- | --- | --- | --- | --- |
`

// readTable returns the rows of a table by kernel and machine.
func readTable(path string) (map[string]*row, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rows := make(map[string]*row)
	for line := range strings.Lines(strings.TrimPrefix(string(content), tableHead)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 6 {
			return nil, fmt.Errorf("%s: %d cells in: %s", path, len(cells), line)
		}
		r := &row{kernel: cells[0], machine: cells[1], driver: cells[2], mode: cells[3]}
		if cells[4] != "" {
			r.acts = strings.Split(cells[4], ", ")
		}
		if failed, ok := strings.CutPrefix(cells[5], "fails: "); ok {
			r.failed = strings.Split(failed, ", ")
		}
		rows[r.key()] = r
	}
	return rows, nil
}

// merge adds to a row what a later run has seen: not every run goes through all.
func (r *row) merge(later *row) *row {
	merged := &row{kernel: later.kernel, machine: later.machine, driver: later.driver, mode: later.mode}
	merged.acts = slices.DeleteFunc(slices.Clone(r.acts), func(act string) bool { return slices.Contains(later.failed, act) })
	merged.failed = slices.DeleteFunc(slices.Clone(r.failed), func(act string) bool { return slices.Contains(later.acts, act) })
	for _, act := range later.acts {
		if !slices.Contains(merged.acts, act) {
			merged.acts = append(merged.acts, act)
		}
	}
	for _, act := range later.failed {
		if !slices.Contains(merged.failed, act) {
			merged.failed = append(merged.failed, act)
		}
	}
	return merged
}

// compareTable writes the table with what this run has seen, and returns in what it
// differs from the one in the repository.
func compareTable() error {
	if len(results.rows) == 0 {
		return nil
	}
	committed, err := readTable(tablePath)
	if err != nil {
		return err
	}
	merged := maps.Clone(committed)
	var differ []string
	for key, r := range results.rows {
		old := committed[key]
		if old == nil {
			old = &row{}
		}
		merged[key] = old.merge(r)
		if old.String() != merged[key].String() {
			differ = append(differ, merged[key].String())
		}
	}
	rows := slices.SortedFunc(maps.Values(merged), func(a, b *row) int {
		return cmp.Or(strings.Compare(a.machine, b.machine), strings.Compare(a.kernel, b.kernel))
	})
	text := tableHead
	for _, r := range rows {
		text += r.String() + "\n"
	}
	if err := os.MkdirAll(filepath.Dir(newTable), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(newTable, []byte(text), 0o644); err != nil {
		return err
	}
	if len(differ) > 0 {
		return fmt.Errorf(".github/machines.md says something else; if this is right: cp build/machines/machines.md .github/\n%s", strings.Join(differ, "\n"))
	}
	return nil
}

// Promise: the table has each machine that is tested at every change, and none that is not
// tested at all.
func TestTable(t *testing.T) {
	committed, err := readTable(tablePath)
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{"6.1 Debian 12": true, "6.12 Debian 13": true, "6.12 arm64": true, "6.1 arm64": false}
	for _, c := range nicCases {
		tested[c.kernel+" "+c.name] = c.everyChange
	}
	for _, c := range driverCases {
		tested[c.kernel+" "+c.machine()] = c.everyChange
	}
	for key, everyChange := range tested {
		if everyChange && committed[key] == nil {
			t.Errorf("no row for %s", key)
		}
	}
	for key := range committed {
		if _, ok := tested[key]; !ok {
			t.Errorf("a row for %s, which is not tested", key)
		}
	}
}
