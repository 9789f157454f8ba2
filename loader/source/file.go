// Package source reads the origins of declared entries. They are read, never
// written: whoever manages the host's configuration owns them.
package source

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
// path that cannot be read is a Reading with an Err of that path's origin.
func Files(paths []string) []Reading {
	var readings []Reading
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			readings = append(readings, directory(path)...)
			continue
		}
		readings = append(readings, file(path))
	}
	return once(readings)
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

func directory(dir string) []Reading {
	files, err := os.ReadDir(dir)
	if err != nil {
		return []Reading{{Origin: policy.FileOrigin(dir), Err: unreadable(dir, err)}}
	}
	var readings []Reading
	var others []string
	for _, f := range files {
		switch {
		case strings.HasPrefix(f.Name(), "."):
		case strings.HasSuffix(f.Name(), Suffix):
			readings = append(readings, file(filepath.Join(dir, f.Name())))
		default:
			others = append(others, f.Name())
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		readings = append(readings, Reading{Origin: policy.FileOrigin(dir), Warnings: []string{
			fmt.Sprintf("%s: not read, because they do not end in %s: %s", dir, Suffix, strings.Join(others, ", ")),
		}})
	}
	return readings
}

func file(path string) Reading {
	r := Reading{Origin: policy.FileOrigin(path)}
	// A pipe would make the daemon wait for whoever writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		r.Err = unreadable(path, err)
		return r
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		r.Err = unreadable(path, cmp.Or(err, errors.New("not a regular file")))
		return r
	}
	r.Claims, r.Warnings, r.Err = policy.ParseList(path, r.Origin, f)
	return r
}

func unreadable(path string, err error) error {
	var inner *os.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &policy.InputError{Where: path, What: fmt.Sprintf("cannot be read: %v", err)}
}
