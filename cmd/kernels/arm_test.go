package main

// This file runs what README promises for arm64, where there is no arm64.

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// Promise: on arm64 the programs load, every packet case has its verdict, and the gate is
// published, attached and adopted as on amd64.
func TestArm64(t *testing.T) {
	machines(t, true)
	t.Parallel()
	for version, everyChange := range map[string]bool{"6.12": true, "6.1": false} {
		t.Run(version, func(t *testing.T) {
			machines(t, everyChange)
			t.Parallel()
			needed(t, architectures["arm64"], version, false)
			record(version, "arm64", "veth", "native").run(t, "tests of bpf maps and loader", func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), "make", "-C", "../..", "test-kernels", "ARCH=arm64", "KERNELS="+version, "KERNELS_TIMEOUT=30m")
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				err := cmd.Run()
				if err != nil {
					t.Errorf("make test-kernels: %v\n%s", err, out.String())
				}
				lines := strings.Split(strings.TrimSpace(out.String()), "\n")
				t.Log(lines[len(lines)-1])
			})
		})
	}
}
