// This file packs all that the guest has: there is no disk.

package main

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// instructions tell the guest what to do; they lie in instructionsFile.
type instructions struct {
	Modules  []string // files, in the order to load them
	Commands [][]string
	Env      []string
	Dir      string
	Disk     string // device of an ext4 root to boot instead of all that, like /dev/vda
}

const instructionsFile = "etc/instructions.json"

// writeInitramfs writes the whole file system of the guest.
func writeInitramfs(ctx context.Context, out io.Writer, k *kernel, opts *options) error {
	self := opts.init
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			return err
		}
	}
	buffered := bufio.NewWriterSize(out, 1<<20)
	archive := &cpio{out: buffered, made: make(map[string]bool)}
	todo := instructions{Env: opts.env, Dir: opts.dir, Disk: opts.disk}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "run"} {
		archive.dir(dir)
	}
	if err := archive.program("init", self); err != nil {
		return err
	}
	modules, err := collect(ctx, k, opts.modules)
	if err != nil {
		return err
	}
	for _, m := range modules {
		name := "modules/" + m.name + ".ko"
		archive.file(name, 0o644, m.data)
		todo.Modules = append(todo.Modules, "/"+name)
	}
	for i, command := range opts.commands {
		// A folder each: two packages may both be called x.test.
		name := fmt.Sprintf("bin/%d/%s", i, filepath.Base(command[0]))
		if err := archive.program(name, command[0]); err != nil {
			return err
		}
		todo.Commands = append(todo.Commands, append([]string{"/" + name}, command[1:]...))
	}
	for _, c := range opts.copies {
		from, to, _ := strings.Cut(c, "=")
		if err := archive.tree(from, to); err != nil {
			return err
		}
	}
	archive.dir(strings.TrimPrefix(path.Clean(opts.dir), "/"))
	content, err := json.Marshal(todo)
	if err != nil {
		return err
	}
	archive.file(instructionsFile, 0o644, content)
	archive.entry("TRAILER!!!", 0, nil)
	if archive.err != nil {
		return fmt.Errorf("write initramfs: %w", archive.err)
	}
	return buffered.Flush()
}

// cpio writes the "newc" format that the kernel unpacks. The first error sticks.
type cpio struct {
	out  io.Writer
	made map[string]bool // folders
	next int             // inode
	err  error
}

// program adds an executable, which must not need a dynamic linker.
func (c *cpio) program(name, from string) error {
	file, err := elf.Open(from)
	if err != nil {
		return fmt.Errorf("take along %s: %w", from, err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", from)
		}
	}
	return c.tree(from, name)
}

// tree adds a file or folder with what is in it, as to.
func (c *cpio) tree(from, to string) error {
	err := filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		c.file(strings.TrimPrefix(path.Join(to, filepath.ToSlash(below)), "/"), info.Mode().Perm(), data)
		return nil
	})
	if err != nil {
		return fmt.Errorf("take along %s: %w", from, err)
	}
	return nil
}

func (c *cpio) file(name string, perm fs.FileMode, data []byte) {
	c.dir(path.Dir(name))
	c.entry(name, 0o100000|uint32(perm), data)
}

// dir adds a folder after those above it.
func (c *cpio) dir(name string) {
	if name == "." || name == "" || c.made[name] {
		return
	}
	c.dir(path.Dir(name))
	c.made[name] = true
	c.entry(name, 0o040755, nil)
}

func (c *cpio) entry(name string, mode uint32, data []byte) {
	c.next++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.next, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.write(pad([]byte(header + name + "\x00")))
	c.write(data)
	c.write(make([]byte, -len(data)&3))
}

func (c *cpio) write(data []byte) {
	if c.err == nil {
		_, c.err = c.out.Write(data)
	}
}

func pad(data []byte) []byte { return append(data, make([]byte, -len(data)&3)...) }
