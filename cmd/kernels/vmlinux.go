// This file unpacks the compressed kernel image once, natively: the guest would
// do it at every boot, emulated, and QEMU cannot do it for every processor.

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	return unpack(ctx, bzImage, path, payloadOf)
}

// zboot writes the kernel that is packed in an EFI program to path, if it is not there
// yet. One that is not packed is booted as it is.
func zboot(ctx context.Context, image, path string) (string, error) {
	header := make([]byte, 8)
	file, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if _, err := io.ReadFull(file, header); err != nil {
		return "", fmt.Errorf("read %s: %w", image, err)
	}
	if !bytes.Equal(header, []byte("MZ\x00\x00zimg")) {
		return image, nil
	}
	return unpack(ctx, image, path, zbootPayload)
}

func unpack(ctx context.Context, packed, path string, payloadOf func([]byte) ([]byte, error)) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	image, err := os.ReadFile(packed)
	if err != nil {
		return "", err
	}
	payload, err := payloadOf(image)
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w", packed, err)
	}
	kernel, err := decompress(ctx, payload)
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w", packed, err)
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(temp, kernel, 0o644); err != nil {
		return "", err
	}
	return path, os.Rename(temp, path)
}

// zbootPayload reads the header of drivers/firmware/efi/libstub/zboot-header.S.
func zbootPayload(image []byte) ([]byte, error) {
	if len(image) < 16 {
		return nil, errors.New("no zboot header")
	}
	start, size := binary.LittleEndian.Uint32(image[8:]), binary.LittleEndian.Uint32(image[12:])
	if uint64(start)+uint64(size) > uint64(len(image)) || size < 8 {
		return nil, errors.New("payload beyond the image")
	}
	return image[start : start+size], nil
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
		{"\x1f\x8b", "gzip"},
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
