// This file watches the files while they are open: somebody may delete or replace them, or remove the
// directory. They are then written again from memory and from the files that are still open.

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// inode identifies a file; the zero value is no file.
type inode struct{ device, number uint64 }

func inodeOf(path string) inode {
	info, err := os.Stat(path)
	if err != nil {
		return inode{}
	}
	return inodeOfInfo(info)
}

func inodeOfFile(file *os.File) inode {
	info, err := file.Stat()
	if err != nil {
		return inode{}
	}
	return inodeOfInfo(info)
}

func inodeOfInfo(info os.FileInfo) inode {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}
	}
	return inode{uint64(stat.Dev), stat.Ino}
}

// listIsAnother reports whether the list on disk is not the one that this Store wrote last.
func (s *Store) listIsAnother() bool {
	s.naming.Lock()
	defer s.naming.Unlock()
	now := inodeOf(filepath.Join(s.dir, effectiveName))
	return now == inode{} || now != s.list
}

// listIsKnown reports whether this Store wrote the list, or read it as it began.
func (s *Store) listIsKnown() bool {
	s.naming.Lock()
	defer s.naming.Unlock()
	return s.list != inode{}
}

// forgetList has the next change write the list whole.
func (s *Store) forgetList() {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.list = inode{}
}

// nameList runs rename, which puts a list that this Store wrote in its place. Who watches in
// between would take it for somebody else's.
func (s *Store) nameList(rename func() error) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	if err := rename(); err != nil {
		return err
	}
	s.list = inodeOf(filepath.Join(s.dir, effectiveName))
	return nil
}

// Watch checks the files, and repairs what somebody did to them. It does not write the list: rewrite says
// that the caller, or the next change, must. It fails with an *UnwritableError where nothing can be
// written, or with what Mend says.
func (s *Store) Watch() (troubles []Trouble, rewrite bool, err error) {
	if s.readOnly {
		return nil, false, nil
	}
	if !s.isOpen() {
		return nil, false, s.refusal()
	}
	path := filepath.Join(s.dir, dbName)
	if s.damaged.Load() {
		if err := s.Mend(); err != nil {
			return nil, false, err
		}
		troubles = append(troubles, Trouble{path, "was damaged: it is now " + dbName + ".damaged, and was made anew from " + effectiveName + "; when entries were last seen is lost", "xdpallow list"})
	}
	if now := inodeOf(path); now != s.file {
		what := "was deleted"
		if now != (inode{}) {
			what = "was replaced by another file, which is now " + dbName + ".damaged"
		}
		if err := s.restore(path, now != inode{}); err != nil {
			return troubles, false, &UnwritableError{s.dir, fmt.Errorf("%s %s, and cannot be written anew: %w", path, what, err)}
		}
		troubles = append(troubles, Trouble{path, what + " while the daemon ran: it was written anew, and nothing is lost", "xdpallow list"})
	}
	if s.listIsKnown() && s.listIsAnother() {
		rewrite = true
		troubles = append(troubles, Trouble{filepath.Join(s.dir, effectiveName), "was deleted or replaced while the daemon ran: it is written anew, and nothing is lost", "xdpallow list"})
	}
	return troubles, rewrite, nil
}

// restore writes the open database, whose file has no name any more, to path.
func (s *Store) restore(path string, another bool) error {
	if err := makeDir(s.dir); err != nil {
		return err
	}
	if another {
		if _, err := setAside(path); err != nil {
			return err
		}
	}
	s.swapping.Lock()
	defer s.swapping.Unlock()
	if err := guard(func() error { return s.db.View(func(tx *bolt.Tx) error { return copyTo(path, tx) }) }); err != nil {
		return err
	}
	db, file, err := openDB(path, false)
	if err != nil {
		return err
	}
	_ = closeDB(s.db) // it has no name, so nothing in it is missed
	s.db, s.file = db, inodeOfFile(file)
	return nil
}

// copyTo writes a database to path, which gets its name when it is complete.
func copyTo(path string, tx *bolt.Tx) error {
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }()
	if _, err := tx.WriteTo(file); err != nil {
		return err
	}
	return errors.Join(file.CloseAtomicallyReplace(), syncDir(filepath.Dir(path)))
}

// Mend sets aside a database in which bbolt found a damaged page, and makes it again from the list, which
// has every acknowledged change. Where it fails, because there is no list or an older one, or because
// nothing can be written, the Store refuses changes from then on or is as it was.
func (s *Store) Mend() error {
	state, err := LoadState(s.dir)
	if err != nil {
		return err
	}
	if state.Serial == 0 {
		return errors.New("there is no list to make it from")
	}
	if state.Serial < s.current.Load() {
		return fmt.Errorf("the list is of change %d, and change %d was made", state.Serial, s.current.Load())
	}
	s.swapping.Lock()
	db := s.db
	s.db, s.memory, s.loaded, s.unwritable = nil, state, true, errors.New("the database is being made anew")
	s.swapping.Unlock()
	if db != nil {
		go func() { _ = closeDB(db) }() // it may wait for ever for a lock that a panic left
	}
	path := filepath.Join(s.dir, dbName)
	_, err = setAside(path)
	if err == nil {
		err = s.remake(path)
	}
	if err != nil {
		s.refuse(err)
		return err
	}
	s.swapping.Lock()
	s.memory = State{records: records{}}
	s.swapping.Unlock()
	return nil
}

// closeDB closes a database whose pages may be damaged.
func closeDB(db *bolt.DB) error { return guard(db.Close) }

// Retry is OpenDatabase again, after the database could not be opened or written. It fails with an
// *UnwritableError as long as that is so.
func (s *Store) Retry() ([]Trouble, error) {
	troubles, err := s.OpenDatabase(false)
	if err == nil && !s.isOpen() {
		err = s.refusal()
	}
	return troubles, err
}

// Writable reports whether changes can be made, as far as is known.
func (s *Store) Writable() bool { return s.isOpen() }

// least is how much room a change may need, in bytes.
const least = 256 << 10

// Room returns, as an *os.PathError, why no change could be written under dir; nil where there is room.
func Room(dir string) error {
	var fs unix.Statfs_t
	switch err := unix.Statfs(dir, &fs); {
	case err != nil:
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	case fs.Flags&unix.ST_RDONLY != 0:
		return &os.PathError{Op: "write to", Path: dir, Err: unix.EROFS}
	case fs.Bfree*uint64(fs.Bsize) < least:
		return &os.PathError{Op: "write to", Path: dir, Err: unix.ENOSPC}
	}
	return nil
}
