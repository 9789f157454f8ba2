// Package spool keeps a text on disk until it is whole: nobody may be given half a list, and a command
// does not hold a million entries in memory for that.
package spool

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// File is a text that is being collected.
type File struct {
	*os.File
	path  string // that Commit puts it at; "" is nowhere
	named bool   // it has a name beside path, and is moved there
}

// New returns a file for what is to be at path, which only its owner may read; "" is a text that is
// only to be passed on. Close it in the end.
func New(path string) (*File, error) {
	info, err := os.Stat(path)
	if path != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if path != "" && (err != nil || info.Mode().IsRegular()) {
		file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
		return &File{file, path, true}, err
	}
	file, err := os.CreateTemp("", "xdpallow-*")
	if err != nil { // of a host without a place for it, memory
		var fd int
		fd, err = unix.MemfdCreate("xdpallow", unix.MFD_CLOEXEC)
		return &File{os.NewFile(uintptr(fd), "memory"), path, false}, err
	}
	return &File{file, path, false}, os.Remove(file.Name())
}

// Commit puts the text at its path, where it replaces the old one when it is on disk. To what is no
// regular file, as /dev/stderr, it is written.
func (f *File) Commit() error {
	if !f.named {
		to, err := os.OpenFile(f.path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.CopyTo(to), to.Close())
	}
	err := errors.Join(f.Sync(), os.Rename(f.Name(), f.path))
	f.named = err != nil
	return err
}

// CopyTo writes the whole text to w.
func (f *File) CopyTo(w io.Writer) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read it again: %w", err)
	}
	_, err := io.Copy(w, f)
	return err
}

// QuoteTo writes the whole text to w as a string of JSON.
func (f *File) QuoteTo(w io.Writer) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read it again: %w", err)
	}
	out, lines := bufio.NewWriter(w), bufio.NewReader(f)
	out.WriteByte('"')
	for {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read it again: %w", err)
		}
		var text strings.Builder
		quoted := json.NewEncoder(&text)
		quoted.SetEscapeHTML(false)
		if err := quoted.Encode(line); err != nil {
			return err
		}
		out.WriteString(text.String()[1 : text.Len()-len("\"\n")])
		if err == io.EOF {
			out.WriteByte('"')
			return out.Flush() // carries the first error of the writes above
		}
	}
}

// Close forgets what was not committed.
func (f *File) Close() error {
	if f.named {
		_ = os.Remove(f.Name())
	}
	return f.File.Close()
}
