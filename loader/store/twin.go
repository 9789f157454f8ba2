// This file compares the database and the list, which store the same twice. Of two intact ones the later
// one is right; one that is damaged, missing or older is made again from the other.

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/lock"
)

// UnwritableError refuses a change while nothing can be written.
type UnwritableError struct {
	Dir string
	Err error
}

func (e *UnwritableError) Error() string {
	return fmt.Sprintf("changes cannot be kept in %s, so none are made: %v", e.Dir, e.Err)
}

func (e *UnwritableError) Unwrap() error { return e.Err }

// Trouble is what was wrong with a file, and what was done about it.
type Trouble struct {
	Path string
	Text string
	Hint string // a command
}

func (t Trouble) String() string { return t.Path + ": " + t.Text }

func (s *Store) openTwin(force bool) (troubles []Trouble, err error) {
	path := filepath.Join(s.dir, dbName)
	listed := s.isListed()
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && listed && s.mustLoad():
		if err := s.remake(path); err != nil {
			return nil, err
		}
		return []Trouble{{path, "was missing and was made anew from " + effectiveName + "; when entries were last seen is lost", "xdpallow list"}}, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open state: %w", err)
	case err == nil && info.Size() == 0 && listed: // bbolt would make an empty database of it
		err = errors.New("it is empty")
	default:
		if err = createDB(path); err != nil {
			return nil, fmt.Errorf("create state %s: %w", path, err)
		}
		err = s.openWhole(path)
	}
	var held *lock.HeldError
	var errno syscall.Errno
	switch {
	case err == nil:
		return s.compare(path)
	case errors.As(err, &held), errors.Is(err, ErrNewer), errors.As(err, &errno):
		return nil, err
	case !listed && !force:
		return nil, &CorruptError{Path: path, Err: err}
	}
	listed = s.mustLoad()
	if !listed && !force {
		return nil, &CorruptError{Path: path, Err: err}
	}
	aside, asideErr := setAside(path)
	if asideErr != nil {
		return nil, fmt.Errorf("set the damaged state %s aside (%w): %w", path, err, asideErr)
	}
	text := fmt.Sprintf("was damaged (%v): it is now %s, and was made anew from %s; when entries were last seen is lost", err, filepath.Base(aside), effectiveName)
	if !listed {
		text = fmt.Sprintf("was damaged (%v), as the list beside it: it is now %s; entries made with add, suspensions and limits are lost", err, filepath.Base(aside))
	}
	if s.memory.Serial == 0 && listed {
		text += "; suspensions and limits were in it alone and are lost"
	}
	if err := s.remake(path); err != nil {
		return nil, fmt.Errorf("%s was damaged, and is now %s: %w", path, filepath.Base(aside), err)
	}
	return []Trouble{{path, text, "xdpallow list"}}, nil
}

// isListed reports whether there is a list, intact or not.
func (s *Store) isListed() bool {
	if s.loaded {
		return s.memory.Serial > 0 || s.memory.Generation > 0
	}
	for _, name := range []string{effectiveName, previousName} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
			return true
		}
	}
	return false
}

// mustLoad loads the list if that was not done yet, and reports whether there is one.
func (s *Store) mustLoad() bool {
	if !s.loaded {
		_ = s.LoadList() // of one that is damaged there is nothing
	}
	return s.memory.Serial > 0 || s.memory.Generation > 0
}

// listSerial returns the last change of the list, 0 where there is no intact list.
func (s *Store) listSerial() (uint64, error) {
	if s.loaded {
		return s.memory.Serial, nil
	}
	path := filepath.Join(s.dir, effectiveName)
	if !isWhole(path) {
		s.mustLoad()
		return s.memory.Serial, nil
	}
	head, err := readListHead(path)
	if err != nil {
		return 0, err
	}
	frames, _, err := loadJournal(s.dir)
	if frames = following(frames, head.Serial); len(frames) > 0 {
		head.Serial = frames[len(frames)-1].serial
	}
	return head.Serial, err
}

// compare compares the open database with the list, and brings the older one up to date.
func (s *Store) compare(path string) (troubles []Trouble, err error) {
	if err := s.convert(); err != nil {
		return nil, err
	}
	read := s.loaded // who read it was told of what is wrong with it
	listed, err := s.listSerial()
	if err != nil {
		return nil, err
	}
	serial := s.serial()
	list := filepath.Join(s.dir, effectiveName)
	switch {
	case listed == serial && serial > 0 && !read && !isWhole(list):
		// The list before it and the changes since have it all, but they are the last copy.
		s.later = true
		troubles = append(troubles, Trouble{list, "is damaged or missing: " + previousName + " and " + journalName + " have all of it, and it is written anew", "xdpallow list"})
	case listed > serial:
		s.mustLoad()
		frames, _, err := loadJournal(s.dir)
		if err != nil {
			return nil, err
		}
		frames = following(frames, serial)
		err = s.update(func(tx *bolt.Tx) error {
			t, err := begun(tx)
			switch {
			case err != nil:
				return err
			case len(frames) > 0 && frames[len(frames)-1].serial == listed:
				return redo(t, frames)
			}
			return s.memory.fill(t)
		})
		if err != nil {
			return nil, err
		}
		// If it is only one, the daemon was killed during a change.
		if listed > serial+1 {
			troubles = append(troubles, Trouble{path, fmt.Sprintf("is older than %s (change %d, and %d): the list was taken over", effectiveName, serial, listed), "xdpallow list"})
		}
	case listed < serial:
		s.later = true
		if listed > 0 && serial > listed+1 || listed == 0 && s.memory.Generation == 0 && s.wasListed() {
			troubles = append(troubles, Trouble{list, fmt.Sprintf("is older than %s (change %d, and %d), or missing: it is written anew", dbName, listed, serial), "xdpallow list"})
		}
	case s.loaded:
		made := 0
		for _, c := range s.memory.Claims {
			if c.Origin.Kept() {
				made++
			}
		}
		claims := 0
		err := s.view(func(tx *bolt.Tx) (err error) {
			for _, origin := range originsIn(tx) {
				err = errors.Join(err, reader{tx}.each(claimsOf(origin), nil, func(_, _ []byte) error {
					claims++
					return nil
				}))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		s.later = made != claims
	}
	return troubles, nil
}

// wasListed reports whether there was ever a list beside this database.
func (s *Store) wasListed() bool {
	found := false
	_ = s.read(func(from source) error {
		e, err := readDeclared(from)
		found = err == nil && len(e.Services) > 0
		return nil
	})
	return found
}

// Later reports whether the database has changes that the list from LoadList does not have.
func (s *Store) Later() bool { return s.later }

// serial returns the number of the last change, 0 where it cannot be read.
func (s *Store) serial() (serial uint64) {
	_ = s.read(func(from source) (err error) {
		serial, err = readNumber(from, keySerial)
		return err
	})
	return serial
}

// remake makes a database from the list.
func (s *Store) remake(path string) error {
	if err := createDB(path); err != nil {
		return fmt.Errorf("create state %s: %w", path, err)
	}
	db, file, err := openDB(path, false)
	if err != nil {
		return err
	}
	if s.memory.Serial == 0 && s.memory.Generation > 0 {
		s.memory.Serial = 1
	}
	err = guard(func() error {
		return db.Update(func(tx *bolt.Tx) error {
			t, err := begun(tx)
			if err == nil && (s.memory.Serial > 0 || len(s.memory.Claims) > 0) {
				err = s.memory.fill(t)
			}
			return err
		})
	})
	if err != nil {
		return errors.Join(fmt.Errorf("write state %s: %w", path, err), closeDB(db), os.Remove(path))
	}
	s.take(db, file)
	return nil
}

// lookOnly reads a database that cannot be written, and uses it where it is later than the list.
func (s *Store) lookOnly() (troubles []Trouble) {
	path := filepath.Join(s.dir, dbName)
	s.mustLoad()
	troubles = []Trouble{{s.dir, fmt.Sprintf("the last good list is enforced, and changes are refused: %v", s.unwritable), "df " + s.dir}}
	if checkFile(path) != nil {
		return troubles
	}
	reader, err := OpenReadOnly(s.dir)
	if err != nil {
		return troubles
	}
	defer reader.Close()
	if reader.db == nil || guard(func() error { return verifyDB(reader.db) }) != nil {
		return troubles
	}
	if state, err := reader.State(); err == nil && (state.Serial > s.memory.Serial || !s.loaded) {
		s.swapping.Lock()
		s.memory, s.loaded, s.later = state, true, true
		s.swapping.Unlock()
	}
	return troubles
}

// setAside renames a damaged file, in place of one that was set aside before.
func setAside(path string) (aside string, err error) {
	aside = path + ".damaged"
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return aside, syncDir(filepath.Dir(path))
}
