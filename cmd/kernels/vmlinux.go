// This file unpacks the compressed kernel image once, natively: the guest would
// do it at every boot, emulated.

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Offsets in the x86 boot header (Documentation/arch/x86/boot.rst).
const (
	setupSectors  = 0x1f1 // one byte, 512-byte sectors of real-mode code; 0 means 4
	payloadOffset = 0x248 // little endian, from the end of the real-mode code
	payloadLength = 0x24c
	headerEnd     = 0x250
)

// vmlinux writes the ELF kernel that is packed in a bzImage to path, if it is
// not there yet. QEMU boots it by its PVH entry, which Debian's kernels have.
func vmlinux(ctx context.Context, bzImage, path string) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	image, err := os.ReadFile(bzImage)
	if err != nil {
		return "", err
	}
	payload, err := payloadOf(image)
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w", bzImage, err)
	}
	elf, err := decompress(ctx, payload)
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w", bzImage, err)
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(temp, elf, 0o644); err != nil {
		return "", err
	}
	return path, os.Rename(temp, path)
}

func payloadOf(image []byte) ([]byte, error) {
	if len(image) < headerEnd {
		return nil, errors.New("no boot header")
	}
	sectors := int(image[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + int(binary.LittleEndian.Uint32(image[payloadOffset:]))
	end := start + int(binary.LittleEndian.Uint32(image[payloadLength:]))
	if end > len(image) || end < start+8 {
		return nil, errors.New("payload beyond the image")
	}
	return image[start : end-4], nil // the last word is the unpacked size
}

func decompress(ctx context.Context, payload []byte) ([]byte, error) {
	for _, format := range []struct {
		magic   string
		program string
	}{
		{"\x02\x21\x4c\x18", "lz4"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"\xfd7zX", "xz"},
	} {
		if !bytes.HasPrefix(payload, []byte(format.magic)) {
			continue
		}
		return filter(ctx, payload, format.program, "-dc")
	}
	return nil, fmt.Errorf("unknown compression % x", payload[:4])
}

// filter runs a program from stdin to stdout.
func filter(ctx context.Context, in []byte, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", argv[0], err, problems.Bytes())
	}
	return out.Bytes(), nil
}
