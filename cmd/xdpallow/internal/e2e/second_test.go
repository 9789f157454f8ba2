package e2e

// This file makes another release out of the same source, so that an upgrade is one.

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// second is the path of a build that could be the next release: another schema
// number and another program, which does the same by other instructions.
var second = sync.OnceValues(func() (string, error) {
	dir := filepath.Dir(binary)
	source, err := filepath.Abs("../../../../bpf")
	if err != nil {
		return "", err
	}
	object := filepath.Join(dir, "second.o")
	if err := compileOther(source, filepath.Join(dir, "second.bpf.c"), object); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(source, "xdpallow_bpfel.o"): object}})
	if err != nil {
		return "", err
	}
	config := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(config, overlay, 0o600); err != nil {
		return "", err
	}
	return build(dir, "second", "-overlay", config, "-ldflags", "-X github.com/xdpallow/xdpallow/loader/pins.Schema=v0")
})

// compileOther compiles the program in source, changed by a hair, as `make generate`
// compiles the committed one.
func compileOther(source, changed, object string) error {
	text, err := os.ReadFile(filepath.Join(source, "xdp.bpf.c"))
	if err != nil {
		return err
	}
	unit, err := os.ReadFile(filepath.Join(source, "xdpallow.bpf.c"))
	if err != nil {
		return err
	}
	const count = "bpf_xdp_get_buff_len(ctx));"
	other := bytes.Replace(text, []byte(count), []byte("bpf_xdp_get_buff_len(ctx) + (bpf_xdp_get_buff_len(ctx) >> 31));"), 1)
	if bytes.Equal(text, other) {
		return &os.PathError{Op: "find " + count, Path: source, Err: os.ErrNotExist}
	}
	unit = bytes.Replace(unit, []byte(`#include "xdp.bpf.c"`), other, 1)
	if err := os.WriteFile(changed, unit, 0o600); err != nil {
		return err
	}
	machine, err := exec.Command("uname", "-m").Output()
	if err != nil {
		return err
	}
	for _, command := range [][]string{
		{
			"clang-14", "-O2", "-g", "-mcpu=v3", "-target", "bpfel", "-I" + source,
			"-I/usr/include/" + strings.TrimSpace(string(machine)) + "-linux-gnu", "-c", changed, "-o", object,
		},
		{"llvm-strip-14", "-g", object},
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// secondBuild is second, or the end of the test.
func secondBuild(t *testing.T) string {
	t.Helper()
	path, err := second()
	if err != nil {
		t.Fatalf("make a second build: %v", err)
	}
	return path
}
