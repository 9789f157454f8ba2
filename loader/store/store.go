// Package store stores what must survive the daemon and the host. Everything that decides on a
// packet is stored twice, in a list and in a database, and is on disk in both before a change is
// acknowledged: every claim of every origin, suspensions, limits, deadlines, what waits for its
// confirmation. After a reboot the list is enforced before the database is opened. Of the two the
// later one is right; one that is damaged, missing or older is made again from the other.
//
// The files of a state directory, of mode 0700:
//
//	effective.list      the list. Comment lines "#= BUCKET KEY RECORD" (base64) are the
//	                    records that are no claims, "#! " is the head in JSON with the serial
//	                    number of the last change, "#@ " an origin; the rest are lines of
//	                    the list grammar. The last line is the SHA-256 of all before it.
//	effective.list.prev the list before that one.
//	effective.changes   the changes since: "change SERIAL BYTES SHA256" and so many bytes of
//	                    lines "BUCKET KEY RECORD"; "-" is a record that was deleted. A last
//	                    change that is cut off was never acknowledged, and is dropped.
//	effective.list.before-N  what the change of generation N replaced, for a rollback.
//	state.db            the database (bbolt). Buckets "NAME.2" hold records with a CRC-32C
//	                    each, and their sum in facts.2/sum, by which a missing one is found;
//	                    "NAME.3" likewise chunks of records, as packer makes them. The list
//	                    knows the records of both as of NAME.2.
//	                    claims.2/ORIGIN has the claims of a followed origin. declared.2 is
//	                    the list without the claims of these and of the command line, in
//	                    pieces. The use of entries and the lines for the change log have
//	                    no twin.
//	state.db.damaged    the last damaged database.
//	changes.jsonl       the change log, a record in JSON each line.
//
// Both twins number the changes: facts.2/serial, and the head and the changes of the list.
// An older release finds a claim in its bucket of the database that it refuses with "written by a
// newer release".
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
	lockTimeout = time.Second // long enough for a holder that is exiting
)

// ErrReadOnly refuses a change of a Store from OpenReadOnly.
var ErrReadOnly = errors.New("state is open for reading only")

// ErrNewer is a record with fields that this release does not know. No part of it is used: the unknown
// part may take a grant away.
var ErrNewer = errors.New("written by a newer release")

// CorruptError says that the database is damaged.
type CorruptError struct {
	Path string // of the database
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("read state %s: %v: move it aside (mv %[1]s %[1]s.bad) and start again; entries made with add are lost, declared ones are not", e.Path, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Store is an open state directory. It is safe for use by several goroutines.
type Store struct {
	dir      string
	held     *os.File // the lock of the directory; nil for a reader
	readOnly bool

	swapping   sync.RWMutex // the fields below change only where a file is made again
	db         *bolt.DB     // nil: none can be used, and memory answers
	file       inode        // of db
	memory     State        // as the list has it
	unwritable error        // why there is no db; nil where there is one
	damaged    atomic.Bool  // bbolt met a damaged page

	loaded   bool              // memory was read from the list
	fromList uint64            // the last change that the list has
	later    bool              // the database knew more
	noted    map[string][]byte // Meta that came before the database was open
	current  atomic.Uint64     // the last change that was made

	saving     sync.Mutex // one list is written at a time
	whole      bool       // effective.list was read or written whole by this Store
	saved      uint64     // the last change that it says
	naming     sync.Mutex // of list, together with what is on disk
	list       inode      // of effective.list as it was written last
	journaling sync.Mutex
	appended   int64 // bytes of effective.changes
	covered    int64 // of them, those that the list was written after

	logging sync.Mutex    // one append to the change log at a time
	matched bool          // logged counts what an earlier process appended too
	logged  atomic.Uint64 // the last sequence number that changes.jsonl has on disk
	floor   uint64        // the last one found in it: numbers go on when the database was moved aside
}

func (s *Store) isOpen() bool {
	s.swapping.RLock()
	defer s.swapping.RUnlock()
	return s.db != nil
}

// OpenReadOnly opens the state directory for a command that found no daemon. It creates nothing: what
// is missing reads as empty. While it is open no daemon can start, so close it before writing to a
// terminal. It fails with a *lock.HeldError where a daemon has the directory after all, and with a
// *CorruptError where the database is damaged.
func OpenReadOnly(dir string) (*Store, error) {
	s := &Store{dir: dir, readOnly: true, memory: State{records: records{}}}
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
	s.db, _, err = openDB(path, true)
	if err != nil {
		return nil, err
	}
	old := false
	if err := s.view(func(tx *bolt.Tx) error {
		old = ageOf(tx) != present && (tx.Bucket([]byte("facts")) != nil || tx.Bucket(bucketFacts) != nil)
		return nil
	}); err != nil || old {
		_ = closeDB(s.db)
		if err == nil {
			err = fmt.Errorf("state %s was written by an older release; start the daemon once: systemctl start xdpallow", path)
		}
		return nil, err
	}
	return s, nil
}

// Close releases the directory for the next process.
func (s *Store) Close() (err error) {
	if s.isOpen() {
		if !s.readOnly {
			s.forgetLogged()
		}
		err = closeDB(s.db)
	}
	if s.held != nil {
		err = errors.Join(err, s.held.Close())
		s.held = nil
	}
	return err
}

// growth is by how many bytes more than it needs the database grows, each time that it has to.
// By bbolt's own 16 MiB one of a small list would not fit where a disk is small or nearly full.
const growth = 256 << 10

// openDB opens the database at path. Its errors say which process has it, or what is wrong with it.
func openDB(path string, readOnly bool) (db *bolt.DB, file *os.File, err error) {
	options := &bolt.Options{
		Timeout:      lockTimeout,
		ReadOnly:     readOnly,
		FreelistType: bolt.FreelistMapType,
		// A list of a million that was replaced leaves a hundred thousand bytes of free pages to
		// name, with each change. What is free is found when the database is opened.
		NoFreelistSync: true,
		// Only addresses. Each time that bbolt maps a file that has grown, it copies all that the
		// transaction has written so far.
		InitialMmapSize: 1 << 30,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	err = guard(func() (err error) {
		if db, err = bolt.Open(path, 0o600, options); err == nil {
			db.AllocSize = growth
		}
		return err
	})
	var errno syscall.Errno
	var fault *faultError
	switch {
	case err == nil:
		return db, file, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, &lock.HeldError{Path: filepath.Dir(path), PID: lock.Holder(path)}
	case errors.As(err, &errno): // the file may be intact: it must not be set aside
		return nil, nil, fmt.Errorf("open state %s: %w", path, err)
	case errors.As(err, &fault):
		_ = file.Close() // after a panic bbolt does not, and its lock would stay
	}
	return nil, nil, &CorruptError{Path: path, Err: err}
}

// faultError is a panic in bbolt on a damaged page.
type faultError struct{ cause any }

func (e *faultError) Error() string { return fmt.Sprintf("damaged page: %v", e.cause) }

// guard turns panics and memory faults of bbolt on a damaged or truncated file into an error: a daemon
// that dies of SIGBUS cannot name the file.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &faultError{cause}
		}
	}()
	return fn()
}

// view runs fn on the database. Without a database it does nothing.
func (s *Store) view(fn func(*bolt.Tx) error) error {
	s.swapping.RLock()
	defer s.swapping.RUnlock()
	return s.viewLocked(fn)
}

// viewLocked is view for a caller that holds s.swapping.
func (s *Store) viewLocked(fn func(*bolt.Tx) error) error {
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
	s.damaged.Store(true)
	return &CorruptError{Path: s.db.Path(), Err: err}
}
