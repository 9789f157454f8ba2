// Package source reads what is listed elsewhere: list files, the origins of declared entries, and
// origins that are followed. It writes none of them: they belong to somebody else.
package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Suffix is the end of the names of list files in a directory. Other files are ignored:
// editors and package managers leave old copies there.
const Suffix = ".list"

// Files reads each path: a list file, or a directory of list files, sorted by name. A path
// that cannot be read, or does not answer within Patience, gives a Reading of its origin with
// an Err. Files returns early when ctx ends. A file that is named twice is read once.
func Files(ctx context.Context, paths []string) []Reading {
	all := make([][]Reading, len(paths))
	var waiting sync.WaitGroup
	for i, path := range paths { // all at once: two that do not answer cost Patience once
		waiting.Go(func() { all[i] = read(ctx, path) })
	}
	waiting.Wait()
	return once(slices.Concat(all...))
}

// read reads one path.
func read(ctx context.Context, path string) []Reading {
	info, err := Answer(ctx, path, func() (os.FileInfo, error) { return os.Stat(path) })
	if err == nil && info.IsDir() {
		return directory(ctx, path)
	}
	return []Reading{file(ctx, path)}
}

// once removes what was named twice, as a file and by its directory.
func once(readings []Reading) []Reading {
	seen := map[policy.Origin]bool{}
	return slices.DeleteFunc(readings, func(r Reading) bool {
		again := seen[r.Origin]
		seen[r.Origin] = true
		return again
	})
}

func directory(ctx context.Context, dir string) []Reading {
	files, err := Answer(ctx, dir, func() ([]os.DirEntry, error) { return os.ReadDir(dir) })
	if err != nil {
		return []Reading{{Origin: policy.FileOrigin(dir), Err: unreadable(dir, err)}}
	}
	var lists, others, odd []string
	for _, f := range files {
		switch {
		case strings.HasPrefix(f.Name(), "."):
		case policy.ParseNote(f.Name()) != nil: // answers and logs name the file
			odd = append(odd, strconv.QuoteToASCII(f.Name()))
		case strings.HasSuffix(f.Name(), Suffix):
			lists = append(lists, filepath.Join(dir, f.Name()))
		default:
			others = append(others, f.Name())
		}
	}
	readings := make([]Reading, len(lists))
	var waiting sync.WaitGroup
	for i, path := range lists {
		waiting.Go(func() { readings[i] = file(ctx, path) })
	}
	waiting.Wait()
	if len(odd) > 0 {
		return append(readings, Reading{Origin: policy.FileOrigin(dir), Err: &policy.InputError{
			Where: dir, What: "the name of a file holds control or format characters: " + strings.Join(odd, ", "), Hint: "ls -b " + dir,
		}})
	}
	if len(others) > 0 {
		slices.Sort(others)
		readings = append(readings, Reading{Origin: policy.FileOrigin(dir), Warnings: []string{
			fmt.Sprintf("%s: not read, because they do not end in %s: %s", dir, Suffix, strings.Join(others, ", ")),
		}})
	}
	return readings
}

func file(ctx context.Context, path string) Reading {
	r := Reading{Origin: policy.FileOrigin(path)}
	text, err := slurp(ctx, path)
	if err != nil {
		r.Err = unreadable(path, err)
		return r
	}
	r.Claims, r.Warnings, r.Err = policy.ParseFile(path, r.Origin, bytes.NewReader(text))
	return r
}

func unreadable(path string, err error) error {
	hint := ""
	if errors.Is(err, fs.ErrPermission) {
		hint = "chown root " + path // the unit's daemon is root, but without the capability to read files of others
	}
	if inner, ok := errors.AsType[*os.PathError](err); ok {
		err = inner.Err
	}
	return &policy.InputError{Where: path, What: fmt.Sprintf("cannot be read: %v", err), Hint: hint}
}
