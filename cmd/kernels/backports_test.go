package main

// This file gets a QEMU that emulates igb where the installed one does not: Debian has it
// in its backports, and it runs from where it is unpacked.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// igbQEMU returns the program, and where it finds its files.
func igbQEMU(ctx context.Context) ([]string, error) {
	const program = "qemu-system-x86_64"
	// It exits with 0 also where it has no such model.
	if out, err := exec.CommandContext(ctx, program, "-device", "igb,help").Output(); err == nil && strings.HasPrefix(string(out), "igb options") {
		return []string{program}, nil
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "qemu-bookworm-backports")
	unpacked := []string{
		filepath.Join(dir, "usr/bin", program),
		"-L", filepath.Join(dir, "usr/share/qemu"), "-L", filepath.Join(dir, "usr/share/seabios"),
	}
	if _, err := os.Stat(dir); err == nil {
		return unpacked, nil
	}
	temp, err := os.MkdirTemp(cache, "download-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	// An apt of its own: nothing of this machine's lists and sources changes.
	for _, sub := range []string{"sources", "lists/partial", "cache/archives/partial", "root"} {
		if err := os.MkdirAll(filepath.Join(temp, sub), 0o755); err != nil {
			return nil, err
		}
	}
	sources := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: bookworm-backports bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", mirror())
	if err := os.WriteFile(filepath.Join(temp, "sources/debian.sources"), []byte(sources), 0o644); err != nil {
		return nil, err
	}
	own := []string{
		"-qq", "-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=" + filepath.Join(temp, "sources"),
		"-o", "Dir::State::Lists=" + filepath.Join(temp, "lists"), "-o", "Dir::Cache=" + filepath.Join(temp, "cache"),
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
	}
	if err := apt(ctx, temp, append(own, "update")...); err != nil {
		return nil, err
	}
	if err := apt(ctx, temp, append(own, "download", "qemu-system-x86/bookworm-backports", "qemu-system-data/bookworm-backports",
		"qemu-system-common/bookworm-backports", "seabios")...); err != nil {
		return nil, err
	}
	debs, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, deb := range debs {
		if err := command(ctx, "dpkg-deb", "-x", deb, filepath.Join(temp, "root")); err != nil {
			return nil, err
		}
	}
	return unpacked, os.Rename(filepath.Join(temp, "root"), dir)
}
