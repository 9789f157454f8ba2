// This file makes what is created in the state directory outlive a power loss.

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// makeDir creates dir with mode 0700, and its parents with 0755. A directory that exists keeps its
// mode: systemd or the administrator chose it.
func makeDir(dir string) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil
		}
		return err
	}
	return syncDir(parent)
}

// Others returns, in words, why somebody else than root and this process may write to dir; "" where
// nobody else may.
func Others(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && stat.Uid != uint32(os.Geteuid()) && stat.Uid != 0:
		return fmt.Sprintf("belongs to uid %d", stat.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Sprintf("has mode %04o, so others may write to it", info.Mode().Perm())
	}
	return ""
}

// createDB puts an empty database at path unless there is one. It gets its name only when it is
// complete: a half-written one, after a power loss, would stop every later start. Of two daemons
// that race, one creates it and both go on to the lock.
func createDB(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, "."+dbName)
	if err != nil {
		return err
	}
	_ = file.Close() // nothing was written
	defer func() { _ = os.Remove(file.Name()) }()
	db, err := bolt.Open(file.Name(), 0o600, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(db.Sync(), db.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil {
		if _, statErr := os.Stat(path); statErr != nil {
			return err
		}
	}
	return syncDir(dir)
}

// removeLeftovers removes the temporary files of a process that was killed. The caller holds the
// lock, so nobody else writes any. A failure costs only space.
func removeLeftovers(dir string) {
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		for _, written := range []string{dbName, effectiveName, journalName} {
			if strings.HasPrefix(file.Name(), "."+written) {
				_ = os.Remove(filepath.Join(dir, file.Name()))
			}
		}
	}
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
