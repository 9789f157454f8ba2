// This file says in what the processors of guests differ.

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// architecture is a processor that guests can have, named as Go and Debian name it.
type architecture struct {
	name    string
	program string   // QEMU
	pkg     string   // Debian's, of program
	machine []string // QEMU's arguments for a machine with PCI
	console string   // its first serial port, as Linux calls it
	// image makes of a packaged kernel what QEMU boots, and returns its path.
	image func(ctx context.Context, packaged, unpacked string) (string, error)
}

var architectures = map[string]*architecture{
	"amd64": {
		name: "amd64", program: "qemu-system-x86_64", pkg: "qemu-system-x86",
		machine: []string{"-M", "q35", "-cpu", "max"}, console: "ttyS0", image: vmlinux,
	},
	// -cpu max has pointer authentication, which costs an emulator more than all else.
	"arm64": {
		name: "arm64", program: "qemu-system-aarch64", pkg: "qemu-system-arm",
		machine: []string{"-M", "virt", "-cpu", "cortex-a72"}, console: "ttyAMA0", image: zboot,
	},
}

// native says whether this machine has the processor.
func (a *architecture) native() bool { return a.name == runtime.GOARCH }

// tools maps the programs that guests with the processor need to their packages.
func (a *architecture) tools() map[string]string {
	return map[string]string{a.program: a.pkg, "xz": "xz-utils", "lz4": "lz4", "zstd": "zstd"}
}

// aptOptions let apt offer packages for the processor. What this machine's own apt knows
// of packages stays as it is: another processor has lists of its own in the cache.
func (a *architecture) aptOptions() ([]string, error) {
	if a.native() {
		return nil, nil
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "apt-"+a.name)
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make apt's folders: %w", err)
		}
	}
	return []string{
		"-o", "APT::Architecture=" + a.name, "-o", "APT::Architectures=" + a.name, "-o", "Acquire::Languages=none",
		"-o", "APT::Sandbox::User=root", "-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + dir,
	}, nil
}
