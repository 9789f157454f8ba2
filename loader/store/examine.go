package store

// This file looks at a state directory that may not be open: who could change it, and
// whether it could be written.

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Examine says what is wrong with a state directory, as far as that can be told without
// opening what is in it. The error is os.ErrNotExist when there is none, which is right
// before the first start.
func Examine(dir string) (troubles []Trouble, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("look at the state directory: %w", err)
	}
	if !info.IsDir() {
		return []Trouble{{dir, "it is no directory", "ls -ld " + dir}}, nil
	}
	if info.Mode()&0o022 != 0 {
		troubles = append(troubles, Trouble{dir, fmt.Sprintf("others may write to it (mode %04o), and decide who is let in", info.Mode().Perm()), "chmod 0700 " + dir})
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		troubles = append(troubles, Trouble{dir, fmt.Sprintf("it belongs to uid %d, who can decide who is let in", stat.Uid), "chown root: " + dir})
	}
	if os.Geteuid() == 0 {
		if err := unix.Access(dir, unix.W_OK); err != nil {
			troubles = append(troubles, unwritable(dir, err))
		}
	}
	return troubles, nil
}

// unwritable is the trouble of a directory in which nothing can be kept.
func unwritable(dir string, err error) Trouble {
	return Trouble{dir, fmt.Sprintf("the last good list is enforced, and changes are refused: %v", err), "df " + dir}
}
