// This file writes the list with everything that the database has beside the claims, at once or while
// other changes are made.

package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// SaveEffective makes e the list, and keeps the list before it. When it returns nil, e is on disk. At
// every moment one of the two files is intact. It fails with ErrReadOnly, or with an error of the
// file system.
func (s *Store) SaveEffective(e Effective) error {
	snapshot, err := s.Snapshot(e)
	if err != nil {
		return err
	}
	return snapshot.Save()
}

// Snapshot is a list to be written, with everything that the database had when the Snapshot was made.
type Snapshot struct {
	store   *Store
	list    Effective
	serial  uint64
	records []byte // as lines
}

// Snapshot returns a list with the claims of e, which must be those of this moment, and with the other
// records of the database. Its Save may come later: changes that are made meanwhile are in
// effective.changes. e must not be written to until then.
func (s *Store) Snapshot(e Effective) (*Snapshot, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	n := &Snapshot{store: s, list: e}
	return n, s.read(func(from source) (err error) {
		n.serial, n.records, err = recordLines(from)
		return err
	})
}

// Save writes the list. Errors are those of SaveEffective.
func (n *Snapshot) Save() error {
	s := n.store
	s.saving.Lock()
	defer s.saving.Unlock()
	pending, err := s.prepare(n)
	if err == nil {
		err = pending.commit()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(s.dir, effectiveName), err)
	}
	return nil
}

// shortList is a list that is written as soon as it is behind, in bytes.
const shortList = 256 << 10

// Outgrown reports whether the changes since the list take half as much as the list, so that it is
// time to write that anew. To write it after each change would cost the length of the list.
func (s *Store) Outgrown() bool {
	info, err := os.Stat(filepath.Join(s.dir, effectiveName))
	s.journaling.Lock()
	defer s.journaling.Unlock()
	return err != nil || info.Size() <= shortList || s.appended-s.covered >= info.Size()/2
}

// recordLines are the records that the list has beside the claims, and the serial number
// of the last change.
func recordLines(from source) (serial uint64, lines []byte, err error) {
	if serial, err = readNumber(from, keySerial); err != nil {
		return 0, nil, err
	}
	waiting, err := from.get(bucketFacts, keyConfirm)
	if err != nil {
		return 0, nil, err
	}
	f := &frame{}
	for _, bucket := range listed {
		if bytes.Equal(bucket, bucketUndo) && waiting == nil {
			continue // it may be a million records: only who waits for a rollback needs them
		}
		err := from.each(bucket, nil, func(key, record []byte) error {
			if bytes.Equal(bucket, bucketFacts) && (bytes.Equal(key, keySum) || bytes.Equal(key, keySerial)) {
				return nil
			}
			f.body = append(f.body, recordMark...)
			f.note(bucket, key, record)
			return nil
		})
		if err != nil {
			return 0, nil, err
		}
	}
	return serial, f.body, nil
}

// listed are the buckets whose records the list has as they are. Claims have lines of their own.
var listed = [][]byte{bucketFacts, bucketLimits, bucketMeta, bucketUndo, bucketSuspended, bucketOrigins}

// pendingList is a list that is on disk under a temporary name.
type pendingList struct {
	store  *Store
	file   *renameio.PendingFile
	serial uint64
}

// prepare writes a list to disk, and keeps the list before it. The caller holds s.saving, and must
// call commit or cancel.
func (s *Store) prepare(n *Snapshot) (_ *pendingList, err error) {
	path := filepath.Join(s.dir, effectiveName)
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return nil, err
	}
	p := &pendingList{s, file, n.serial}
	defer func() {
		if err != nil {
			p.cancel()
		}
	}()
	if err := writeList(file, n.list, n.serial, n.records); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	// A torn file must not take the place of the previous one: until the
	// rename in commit, that is the only whole one.
	if s.whole && !s.listIsAnother() || isWhole(path) {
		if err := linkOver(path, filepath.Join(s.dir, previousName)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pendingList) cancel() { _ = p.file.Cleanup() }

func (p *pendingList) commit() error {
	s := p.store
	defer p.cancel()
	s.whole = false // in case that something below fails
	if err := s.nameList(p.file.CloseAtomicallyReplace); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	previous := s.saved
	s.whole, s.saved = true, p.serial
	_ = s.compact(min(previous, p.serial)) // failure costs space only
	s.journaling.Lock()
	defer s.journaling.Unlock()
	s.covered = s.appended
	return nil
}
