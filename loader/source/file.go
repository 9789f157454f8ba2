// Package source reads the origins of declared entries. They are read, never
// written: whoever manages the host's configuration owns them.
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

// Reading is one reading of one origin. With an Err there are no claims: a file
// counts whole or not at all.
type Reading struct {
	Origin   policy.Origin
	Claims   []policy.Claim
	Warnings []string
	Err      error
}

// Suffix is what list files in a directory end with; others there are left alone,
// because editors and package managers leave old copies beside them.
const Suffix = ".list"

// Files reads each path: a list file, or a directory of them, sorted by name. A
// path that cannot be read, or does not answer within Patience, is a Reading with an Err
// of that path's origin. It returns when ctx ends, too.
func Files(ctx context.Context, paths []string) []Reading {
	all := make([][]Reading, len(paths))
	var waiting sync.WaitGroup
	for i, path := range paths { // at once: of two that do not answer nobody waits twice
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

// once leaves out what was named twice, as a file and by its directory.
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
		case policy.ParseNote(f.Name()) != nil: // a place is named in answers and logs
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
		hint = "chown root " + path // the unit's daemon is root without the right to read what is another's
	}
	var inner *os.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &policy.InputError{Where: path, What: fmt.Sprintf("cannot be read: %v", err), Hint: hint}
}
