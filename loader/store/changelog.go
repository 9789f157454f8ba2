// This file writes the change log. A change is made when the database commits, so its record
// goes through the database: the transaction of the change puts it into a bucket, then it is
// appended to changes.jsonl, and the next change removes it from the bucket. Whatever fails or
// is killed on the way, in the end the file has each record once, and none of a change that was
// not made.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

const (
	logName = "changes.jsonl"
	logMode = 0o640 // a log shipper may read it, if the mode of the directory lets him in
)

// bucketUnlogged holds, by sequence number, the lines that the file may not have yet. The
// sequence of the bucket is the number of the last record.
var bucketUnlogged = []byte("unlogged")

// putRecord adds the record of a change, in its transaction, and removes the records that the
// file has on disk.
func (s *Store) putRecord(t *txn, record Record, before uint64) error {
	bucket, err := t.CreateBucketIfNotExists(bucketUnlogged)
	if err != nil {
		return err
	}
	if err := s.dropLogged(bucket); err != nil {
		return err
	}
	record.Sequence = max(bucket.Sequence(), s.floor) + 1
	record.Before = before
	if record.After, err = readNumber(reader{t.Tx}, keyGeneration); err != nil {
		return err
	}
	line, err := encodeLine(record)
	if err != nil {
		return err
	}
	if err := bucket.SetSequence(record.Sequence); err != nil {
		return err
	}
	if err := bucket.Put(sequenceKey(record.Sequence), line); err != nil {
		return err
	}
	if t.frame != nil {
		t.frame.note(bucketUnlogged, sequenceKey(record.Sequence), line)
	}
	record.Added, record.Removed, record.Changed = nil, nil, nil
	return putJSON(t, bucketFacts, keyLastRecord, record)
}

func sequenceKey(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }

func (s *Store) dropLogged(unlogged *bolt.Bucket) error {
	end := sequenceKey(s.logged.Load())
	for {
		key, _ := unlogged.Cursor().First()
		if key == nil || bytes.Compare(key, end) > 0 {
			return nil
		}
		if err := unlogged.Delete(key); err != nil {
			return err
		}
	}
}

// forgetLogged removes the lines that the file has, when the Store is closed: if the file is
// rotated before the next start, they must not be appended again. A daemon that is killed does
// not come here. Lines that its successor appends again to the new file have the sequence
// numbers of the old one.
func (s *Store) forgetLogged() {
	lines, _, err := s.unlogged(0)
	if err != nil || len(lines) == 0 || s.logged.Load() == 0 {
		return
	}
	// Where this fails the next start looks for the lines in the file.
	_ = s.update(func(tx *bolt.Tx) error { return s.dropLogged(tx.Bucket(bucketUnlogged)) })
}

// unlogged returns the lines after a sequence number, and the last number.
func (s *Store) unlogged(after uint64) (lines [][]byte, last uint64, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketUnlogged)
		if bucket == nil {
			return nil
		}
		cursor := bucket.Cursor()
		for key, line := cursor.Seek(sequenceKey(after + 1)); key != nil; key, line = cursor.Next() {
			if len(key) != 8 {
				return fmt.Errorf("key %x is no sequence number", key)
			}
			lines, last = append(lines, bytes.Clone(line)), binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return lines, last, err
}

// FlushLog appends to the change log the records that it does not have yet. Apply calls it after
// each logged change and ignores its error: a full disk must not keep anybody from suspending a
// customer. Call it from time to time and report its error; no record is lost meanwhile. Where
// there is nothing to append it touches no file.
func (s *Store) FlushLog() error {
	if s.readOnly {
		return ErrReadOnly
	}
	s.logging.Lock()
	defer s.logging.Unlock()
	lines, last, err := s.unlogged(s.logged.Load())
	if err != nil || len(lines) == 0 {
		return err
	}
	path := filepath.Join(s.dir, logName)
	matched := s.matched
	s.matched = false // if this fails, what the file has must be found out again
	if err := appendLog(path, lines, matched); err != nil {
		return fmt.Errorf("append to the change log %s: %w", path, err)
	}
	s.matched = true
	s.logged.Store(last)
	return nil
}

// appendLog appends lines to the file at path, on disk. It opens the file each time, because
// whoever rotates logs does not tell us. Unless matched, the file may have some of them already.
func appendLog(path string, lines [][]byte, matched bool) (err error) {
	file, err := openLog(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := mend(file); err != nil {
		return err
	}
	if !matched {
		if lines, err = missing(file, lines); err != nil {
			return err
		}
	}
	if len(lines) > 0 {
		text := append(bytes.Join(lines, []byte("\n")), '\n')
		if _, err := file.Write(text); err != nil {
			return err
		}
	}
	return file.Sync()
}

func openLog(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	file, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, logMode)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Chmod(logMode), syncDir(filepath.Dir(path))); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// mend repairs the last line of the file: it adds a line end that is missing, and cuts off a line
// that is torn. Lines with an end are history and are never touched.
func mend(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	tail := make([]byte, min(size, maxLine+1))
	if _, err := file.ReadAt(tail[max(0, len(tail)-1):], size-min(size, 1)); err != nil {
		return err
	}
	if size == 0 || tail[len(tail)-1] == '\n' {
		return nil
	}
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	tail = tail[bytes.LastIndexByte(tail, '\n')+1:]
	_, whole := parseLine(tail)
	if whole || len(tail) > maxLine { // longer than any of our lines: somebody else's
		_, err = file.Write([]byte("\n"))
		return err
	}
	return file.Truncate(size - int64(len(tail)))
}

// missing returns those of lines that the file does not have. It reads the file backward, up to a
// record from before lines.
func missing(file *os.File, lines [][]byte) ([][]byte, error) {
	info, err := file.Stat()
	if err != nil || len(lines) == 0 {
		return lines, err
	}
	first, _ := parseLine(lines[0])
	there := make(map[string]bool)
	for line, err := range backward(file, info.Size()) {
		if err != nil {
			return nil, err
		}
		record, ok := parseLine(line)
		if ok && record.Sequence < first.Sequence {
			break
		}
		there[string(line)] = true
	}
	var left [][]byte
	for _, line := range lines {
		if !there[string(line)] {
			left = append(left, line)
		}
	}
	return left, nil
}
