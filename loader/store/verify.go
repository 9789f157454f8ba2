// This file opens a database only after it has checked every page and record of it.

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// openWhole checks every page and record of the database, and opens it.
func (s *Store) openWhole(path string) error {
	if err := checkFile(path); err != nil {
		return err
	}
	db, file, err := openDB(path, false)
	if err != nil {
		return err
	}
	if err := guard(func() error { return verifyDB(db) }); err != nil {
		return errors.Join(err, closeDB(db))
	}
	s.take(db, file)
	return nil
}

// take makes db the database of s.
func (s *Store) take(db *bolt.DB, file *os.File) {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	s.db, s.file, s.unwritable = db, inodeOfFile(file), nil
	s.damaged.Store(false)
}

// checkFile checks the pages of the database at path.
func checkFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("open state %s: %w", path, syscall.EISDIR)
	case info.Size() == 0:
		return nil
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(mapped) }()
	return guard(func() error { return checkPages(mapped) })
}

// verifyDB checks every record that is stored twice, and their sum.
func verifyDB(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		r := reader{tx}
		record, err := r.get(bucketFacts, keySum)
		if err != nil {
			return err
		}
		sum, old := uint64(0), ageOf(tx) == unpacked
		for _, name := range sealedIn(tx) {
			in := name
			if !old {
				in, _ = bucketIn(name)
			}
			bucket := tx.Bucket(in)
			if bucket == nil {
				continue
			}
			if err := bucket.ForEach(func(key, value []byte) error {
				if string(name) == string(bucketFacts) && string(key) == string(keySum) {
					return nil
				}
				sum += weight(value)
				_, err := unseal(name, key, value)
				return err
			}); err != nil {
				return err
			}
		}
		if record == nil && sum == 0 { // new, or of a release before this one
			return nil
		}
		if len(record) != 8 || binary.BigEndian.Uint64(record) != sum {
			return errors.New("records are missing")
		}
		return nil
	})
}
