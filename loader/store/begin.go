// This file opens the state directory in two steps: first the list, which is enough to enforce
// the policy after a boot, and then the database.

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/xdpallow/xdpallow/loader/lock"
)

// Begin takes the lock of the state directory, which it creates with mode 0700 where it is
// missing. It reads nothing. Until OpenDatabase the Store answers from what LoadList has read,
// and keeps Meta in memory. It fails with a *lock.HeldError, after about a second, where another
// process has the directory. Close the Store in the end.
func Begin(dir string) (*Store, error) {
	if err := makeDir(dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return nil, fmt.Errorf("create state directory: %w", err)
		}
	}
	held, err := lock.Take(dir)
	if err != nil {
		return nil, err
	}
	// A daemon of an earlier release, and a command that only reads, lock just the database.
	path := filepath.Join(dir, dbName)
	if other, err := lock.Take(path); err == nil {
		other.Close()
	} else if errors.As(err, new(*lock.HeldError)) {
		held.Close()
		return nil, &lock.HeldError{Path: dir, PID: lock.Holder(path)}
	}
	return &Store{
		dir: dir, held: held, memory: State{records: records{}}, unwritable: errors.New("the database is not open"),
		floor: lastSequence(dir),
	}, nil
}

// LoadList reads the list, from which the Store answers until OpenDatabase. Errors are those of
// LoadState; with a *TornError the Store has the older list.
func (s *Store) LoadList() error {
	state, err := LoadState(s.dir)
	if state.records == nil {
		state.records = records{}
	}
	s.swapping.Lock()
	defer s.swapping.Unlock()
	s.memory, s.loaded, s.fromList = state, true, state.Serial
	return err
}

// Open is Begin and OpenDatabase in one. It fails with a *lock.HeldError, after about a second,
// where another process has the directory, and with a *CorruptError where the database cannot be
// read and there is no list to make it from. Both leave the directory as it was.
func Open(dir string) (*Store, error) {
	s, err := Begin(dir)
	if err != nil {
		return nil, err
	}
	if _, err = s.OpenDatabase(false); err == nil && s.unwritable != nil {
		err = s.unwritable
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// OpenDatabase opens the database. Where one of database and list is damaged, missing or older, it
// makes that one again from the other. From then on the Store answers from the database; where
// it cannot have one it goes on answering from memory, and refuses changes. The troubles say what
// was found and done. Where both are damaged beyond use it fails with a *CorruptError, or with
// force sets them aside and begins empty. It fails with a *lock.HeldError, too.
func (s *Store) OpenDatabase(force bool) ([]Trouble, error) {
	removeLeftovers(s.dir)
	troubles, err := s.openTwin(force)
	var held *lock.HeldError
	var corrupt *CorruptError
	switch {
	case err == nil:
	case errors.As(err, &held), errors.As(err, &corrupt):
		return troubles, err
	default:
		s.refuse(err)
		return append(troubles, s.lookOnly()...), nil
	}
	s.current.Store(s.serial())
	troubles = append(troubles, s.findJournal()...)
	if head, err := readListHead(filepath.Join(s.dir, effectiveName)); err == nil {
		s.saved, s.list = head.Serial, inodeOf(filepath.Join(s.dir, effectiveName))
	}
	if !s.later && len(s.noted) > 0 {
		if err := s.Apply(Change{Meta: s.noted}); err != nil {
			return troubles, err
		}
	}
	s.swapping.Lock()
	s.memory, s.noted = State{records: records{}}, nil
	s.swapping.Unlock()
	_ = s.FlushLog() // what a process that was killed committed and did not append
	return troubles, nil
}

// findJournal finds the end of effective.changes, after which the next change is appended.
func (s *Store) findJournal() []Trouble {
	frames, size, err := loadJournal(s.dir)
	if err != nil {
		return nil // the next change says why
	}
	s.appended = size
	last := uint64(0)
	for _, f := range frames {
		last = max(last, f.serial)
	}
	if last <= s.current.Load() {
		return nil
	}
	s.appended = 0 // its changes belong to a lost state: the next change begins the file again
	if last == s.current.Load()+1 {
		return nil // that change was never acknowledged
	}
	return []Trouble{{filepath.Join(s.dir, dbName), fmt.Sprintf("is of change %d as the list is, and change %d was made already: older copies of both were put back, and what came later is lost", s.current.Load(), last), "xdpallow history"}}
}

// refuse records why no change can be made.
func (s *Store) refuse(err error) {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	s.unwritable = err
}

func (s *Store) refusal() error {
	s.swapping.RLock()
	defer s.swapping.RUnlock()
	return &UnwritableError{s.dir, s.unwritable}
}

// note keeps Meta in memory.
func (s *Store) note(meta map[string][]byte) {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	if s.noted == nil {
		s.noted = map[string][]byte{}
	}
	for key, value := range meta {
		s.noted[key] = value
		s.memory.records.put(string(bucketMeta), key, value)
	}
}
