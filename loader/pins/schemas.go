package pins

// This file handles pins of other schemas and of renamed interfaces: both move pins and leave
// the objects as they are.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Programs returns the paths at which a program for name can be pinned: of this schema first,
// then of the others.
func (r Root) Programs(name string) []string {
	paths := []string{r.At("programs", name)}
	for _, dir := range r.Others() {
		paths = append(paths, filepath.Join(dir, "programs", escape(name)))
	}
	return paths
}

// Others returns the directories of other schemas.
func (r Root) Others() []string {
	files, err := os.ReadDir(string(r))
	if err != nil {
		return nil
	}
	var dirs []string
	for _, f := range files {
		if name := f.Name(); isSchema(name) && name != Schema {
			dirs = append(dirs, filepath.Join(string(r), name))
		}
	}
	return dirs
}

// isSchema reports whether a file of the root is the directory of a schema.
func isSchema(name string) bool { return strings.HasPrefix(name, "v") }

// separator is between interface and number where counter maps of other schemas are pinned,
// earlier/INTERFACE:NUMBER. No interface has a colon in its name.
const separator = ":"

// TakeCounters moves every counter map from the directory of another schema to the earlier
// ones of this schema. The maps are kept and not added up: each is in one place at any moment,
// so that a crash neither loses a count nor doubles it, whichever schema starts next.
func (r Root) TakeCounters(dir string) error {
	for _, kind := range []string{"counters", "earlier"} {
		files, err := names(filepath.Join(dir, kind))
		if err != nil {
			return err
		}
		for _, file := range files {
			name, _, _ := strings.Cut(file, separator)
			if err := os.Rename(filepath.Join(dir, kind, escape(file)), r.freeEarlier(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Earlier returns the paths of the counter maps that other schemas left for one interface.
func (r Root) Earlier(name string) ([]string, error) {
	files, err := os.ReadDir(r.Schema("earlier"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	var paths []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), escape(name)+separator) {
			paths = append(paths, r.Schema("earlier", f.Name()))
		}
	}
	return paths, nil
}

// freeEarlier returns a path for a counter map at which nothing is pinned.
func (r Root) freeEarlier(name string) string {
	for n := 1; ; n++ {
		path := r.Schema("earlier", escape(name)+separator+strconv.Itoa(n))
		if _, err := os.Lstat(path); err != nil {
			return path
		}
	}
}

// Rename moves the pins of interfaces from their old names, the keys, to their new ones. Two
// interfaces can have swapped names, so all pins are set aside before any is put back.
func (r Root) Rename(renamed map[string]string) error {
	const aside = "~renamed-"
	for name, now := range renamed {
		if err := r.move(escape(name), aside+escape(now)); err != nil {
			return err
		}
	}
	for _, now := range renamed {
		if err := r.move(aside+escape(now), escape(now)); err != nil {
			return err
		}
	}
	return nil
}

// move renames the pins of an interface in every schema. The link goes last: without it the
// other pins mean nothing.
func (r Root) move(from, to string) error {
	for _, dir := range append(r.Others(), r.Schema()) {
		for _, kind := range kinds {
			err := os.Rename(filepath.Join(dir, kind, from), filepath.Join(dir, kind, to))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("rename pins: %w", err)
			}
		}
	}
	links := filepath.Join(string(r), "links")
	if err := os.Rename(filepath.Join(links, from), filepath.Join(links, to)); err != nil {
		return fmt.Errorf("rename pins: %w", err)
	}
	return nil
}
