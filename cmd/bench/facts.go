// This file says on what machine the figures were taken.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const factsFile = "machine.txt"

// writeFacts keeps the facts beside the results.
func writeFacts(directory string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, factsFile), []byte(facts()), 0o644)
}

func facts() string {
	var name unix.Utsname
	unix.Uname(&name)
	var b strings.Builder
	fmt.Fprintf(&b, "date    %s\nkernel  Linux %s %s\n", time.Now().UTC().Format(time.DateOnly), unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:]))
	fmt.Fprintf(&b, "cpu     %d x %s%s\n", runtime.NumCPU(), field("/proc/cpuinfo", "model name"), caches())
	fmt.Fprintf(&b, "memory  %s\nspectre %s\njit     %s\n", field("/proc/meminfo", "MemTotal"), line("/sys/devices/system/cpu/vulnerabilities/spectre_v2"), line("/proc/sys/net/core/bpf_jit_enable"))
	fmt.Fprintf(&b, "steal   %s ticks on all CPUs since boot\n", steal())
	return b.String()
}

// field is the value of the first line "key: value" of a file.
func field(file, key string) string {
	b, _ := os.ReadFile(file)
	for l := range strings.Lines(string(b)) {
		if name, value, found := strings.Cut(l, ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

func line(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

func caches() (all string) {
	indexes, _ := filepath.Glob("/sys/devices/system/cpu/cpu0/cache/index*")
	for _, i := range indexes {
		if line(filepath.Join(i, "type")) != "Instruction" {
			all += fmt.Sprintf(", L%s %s", line(filepath.Join(i, "level")), line(filepath.Join(i, "size")))
		}
	}
	return all
}

// steal is what the hypervisor took, the eighth number of /proc/stat's first line.
func steal() string {
	first, _, _ := strings.Cut(line("/proc/stat"), "\n")
	if numbers := strings.Fields(first); len(numbers) > 8 {
		return numbers[8]
	}
	return "?"
}
