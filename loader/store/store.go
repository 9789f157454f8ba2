// Package store is what survives the daemon and the host: the entries made by
// the command line with their suspensions, limits and use, in an embedded
// database; beside it the change log, and the effective list of the last two
// generations, which is published after a reboot before any file is read. The
// database is the truth of what the command line made: there the list may be a
// moment older.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/xdpallow/xdpallow/loader/lock"
)

const (
	dbName      = "state.db"
	lockTimeout = time.Second // a holder that is exiting is waited for, one that runs is named
)

// ErrReadOnly is what a Store from OpenReadOnly answers to a change.
var ErrReadOnly = errors.New("state is open for reading only")

// ErrNewer is a record with fields that this release does not know. It is not
// read in part: what is not understood may take a grant away.
var ErrNewer = errors.New("written by a newer release")

// CorruptError is a database that cannot be read.
type CorruptError struct {
	Path string // of the database
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("read state %s: %v: move it aside (mv %[1]s %[1]s.bad) and start again; entries made with add are lost, declared ones are not", e.Path, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Store is an open state directory. Its methods may be called from several
// goroutines.
type Store struct {
	dir      string
	db       *bolt.DB // nil: opened for reading, and there is none
	readOnly bool

	saving sync.Mutex // one SaveEffective at a time
	whole  bool       // effective.list was read or written whole by this Store

	logging sync.Mutex    // one append to the change log at a time
	matched bool          // logged counts what an earlier process appended too
	logged  atomic.Uint64 // the last sequence number that changes.jsonl has on disk
	floor   uint64        // the last one found in it: numbers go on when the database was moved aside
}

// Open opens the state directory for the one daemon that owns it and creates
// it, 0700, where it is missing. It fails with a *lock.HeldError within about a
// second when another process has it open, and with a *CorruptError when the
// database cannot be read; both leave the directory as it was.
func Open(dir string) (*Store, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	path := filepath.Join(dir, dbName)
	if err := createDB(path); err != nil {
		return nil, fmt.Errorf("create state %s: %w", path, err)
	}
	db, err := openDB(path, false)
	if err != nil {
		return nil, err
	}
	removeLeftovers(dir)
	s := &Store{dir: dir, db: db, floor: lastSequence(dir)}
	_ = s.FlushLog() // what a process that was killed committed and did not append
	return s, nil
}

// OpenReadOnly opens the state directory for a command that found no daemon.
// Nothing is created: what is missing reads as empty. No daemon can start
// while it is open, so close it before writing to a terminal. It fails with a
// *lock.HeldError when a daemon has the directory after all.
func OpenReadOnly(dir string) (*Store, error) {
	s := &Store{dir: dir, readOnly: true}
	path := filepath.Join(dir, dbName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("open state: %w", err)
	case info.Size() == 0: // bbolt would want to initialise it
		return s, nil
	}
	s.db, err = openDB(path, true)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close lets the next process have the directory.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	if !s.readOnly {
		s.forgetLogged()
	}
	return s.db.Close()
}

// openDB opens the database at path and says who has it or what is wrong.
func openDB(path string, readOnly bool) (db *bolt.DB, err error) {
	var file *os.File
	options := &bolt.Options{
		Timeout:      lockTimeout,
		ReadOnly:     readOnly,
		FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	err = guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, options)
		return err
	})
	var errno syscall.Errno
	var fault *faultError
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, &lock.HeldError{Path: filepath.Dir(path), PID: lock.Holder(path)}
	case errors.As(err, &errno): // the file may be in order: moving it aside would lose it
		return nil, fmt.Errorf("open state %s: %w", path, err)
	case errors.As(err, &fault):
		_ = file.Close() // bbolt had no chance to, and its lock would stay
	}
	return nil, &CorruptError{Path: path, Err: err}
}

// faultError is a panic in bbolt, which trusts the pages that it reads.
type faultError struct{ cause any }

func (e *faultError) Error() string { return fmt.Sprintf("damaged page: %v", e.cause) }

// guard turns the panics and memory faults of bbolt on a damaged or truncated
// file into an error: a daemon that dies of SIGBUS names no file.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &faultError{cause}
		}
	}()
	return fn()
}

// view runs fn on the database; without one it does nothing.
func (s *Store) view(fn func(*bolt.Tx) error) error {
	if s.db == nil {
		return nil
	}
	err := guard(func() error { return s.db.View(fn) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("read state %s: %w; install that release again", s.db.Path(), err)
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen): // closed: nothing is wrong with the file
		return fmt.Errorf("read state: %w", err)
	}
	return &CorruptError{Path: s.db.Path(), Err: err}
}
