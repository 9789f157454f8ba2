// This file defines a record of the change log, and reads the log, with or without a daemon.
// Fields that a later release adds are ignored. A line that is no record, for example one that a
// crash tore, is skipped.

package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The room in a record, so that its line stays under maxLine. Of a million replaced entries it has
// the counts and the first ones.
const (
	MaxListed      = 1000      // lines of each list
	maxListedBytes = 256 << 10 // of each list
	maxWords       = 4096      // bytes of Command and of Reason
	maxLine        = 8 << 20   // a byte in JSON is six at most
)

// Record says who changed what, when and why. Each list has the first lines, as of
// policy.FormatLine; its count counts all.
type Record struct {
	Sequence uint64    `json:"sequence"` // set by Apply: one more than the record before
	Time     time.Time `json:"time"`     // UTC; now, where it is zero
	UID      uint32    `json:"uid"`
	PID      int32     `json:"pid"`
	LoginUID *uint32   `json:"login_uid,omitempty"` // who had logged in, before sudo or su; nil where that is not known
	Command  string    `json:"command"`             // as it was typed, at most 4096 bytes
	Reason   string    `json:"reason"`              // likewise
	Before   uint64    `json:"before"`              // generation; set by Apply
	After    uint64    `json:"after"`               // generation; set by Apply

	Added        []string `json:"added"`
	Removed      []string `json:"removed"` // as they were
	Changed      []string `json:"changed"` // as they are afterwards
	AddedCount   int      `json:"added_count"`
	RemovedCount int      `json:"removed_count"`
	ChangedCount int      `json:"changed_count"`

	// Changes of services: "~ service admin: ports +tcp/22"; "! tcp/8443 opens to everybody".
	Services []string `json:"services,omitempty"`
	// Suspensions and limits that came and went with it: "resume acme"; not of the commands
	// that do nothing else.
	Overrides []string `json:"overrides,omitempty"`
}

// cut returns a copy of r whose texts and lists are cut to their room. A list that the caller has
// cut already comes with its count.
func (r Record) cut(now time.Time) *Record {
	if r.Time.IsZero() {
		r.Time = now
	}
	r.Time = r.Time.UTC()
	r.Command, r.Reason = cutWords(r.Command), cutWords(r.Reason)
	r.Added, r.AddedCount = cutList(r.Added, r.AddedCount)
	r.Removed, r.RemovedCount = cutList(r.Removed, r.RemovedCount)
	r.Changed, r.ChangedCount = cutList(r.Changed, r.ChangedCount)
	r.Services, _ = cutList(r.Services, 0)
	r.Overrides, _ = cutList(r.Overrides, 0)
	return &r
}

func cutWords(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxWords)], "")
}

func cutList(lines []string, count int) ([]string, int) {
	count = max(count, len(lines))
	room := maxListedBytes
	for i, line := range lines {
		if room -= len(line); room < 0 || i == MaxListed {
			return lines[:i:i], count
		}
	}
	return lines, count
}

// encodeLine returns a record as a line, without its end.
func encodeLine(r Record) ([]byte, error) {
	for _, list := range []*[]string{&r.Added, &r.Removed, &r.Changed} {
		if *list == nil {
			*list = []string{} // a list in JSON, too
		}
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(r)
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), err
}

// parseLine returns the record in line, and false where it is none. A part of a record is none.
func parseLine(line []byte) (r Record, ok bool) {
	if err := json.Unmarshal(line, &r); err != nil || r.Sequence == 0 || r.Sequence > math.MaxInt64 || r.Time.IsZero() {
		return Record{}, false
	}
	return r, true
}

// Order is the direction in which the change log is read.
type Order bool

// The orders.
const (
	OldestFirst Order = false
	NewestFirst Order = true
)

// Changes yields the records of the change log, as of the first step. Files that were rotated away
// do not count; records that could not be appended to the file yet do. Errors are those of
// reading, and come as the last step.
func (s *Store) Changes(order Order) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		file, size, unlogged, err := s.openChanges()
		if err != nil {
			yield(Record{}, err)
			return
		}
		lines := order.lines(nil, 0)
		if file != nil {
			defer file.Close()
			lines = order.lines(file, size)
		}
		if order == NewestFirst {
			slices.Reverse(unlogged)
			if !yieldRecords(unlogged, yield) {
				return
			}
		}
		for line, err := range lines {
			record, ok := parseLine(line)
			if (err != nil || ok) && !yield(record, err) {
				return
			}
		}
		if order == OldestFirst {
			yieldRecords(unlogged, yield)
		}
	}
}

func yieldRecords(lines [][]byte, yield func(Record, error) bool) bool {
	for _, line := range lines {
		if record, ok := parseLine(line); ok && !yield(record, nil) {
			return false
		}
	}
	return true
}

// openChanges returns the file, nil where there is none, its size, and the lines
// that are not in it, all of one moment.
func (s *Store) openChanges() (file *os.File, size int64, unlogged [][]byte, err error) {
	s.logging.Lock()
	defer s.logging.Unlock()
	if unlogged, _, err = s.unlogged(s.logged.Load()); err != nil {
		return nil, 0, nil, err
	}
	file, err = os.Open(filepath.Join(s.dir, logName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, unlogged, nil
	}
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := file.Stat()
	if err == nil && !s.matched {
		unlogged, err = missing(file, unlogged)
	}
	if err != nil {
		return nil, 0, nil, errors.Join(err, file.Close())
	}
	return file, info.Size(), unlogged, nil
}

func (o Order) lines(r io.ReaderAt, size int64) iter.Seq2[[]byte, error] {
	if o == NewestFirst {
		return backward(r, size)
	}
	return forward(r, size)
}

// LastRecord returns the last record without its lines; false before the first. It
// is there when the file is not.
func (s *Store) LastRecord() (record Record, found bool, err error) {
	found, err = s.fact(keyLastRecord, &record)
	return record, found, err
}

// lastSequence returns the number of the last record in the file, 0 if there is
// none. A file that cannot be read costs the order of the numbers only.
func lastSequence(dir string) uint64 {
	file, err := os.Open(filepath.Join(dir, logName))
	if err != nil {
		return 0
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0
	}
	for line, err := range backward(file, info.Size()) {
		if record, ok := parseLine(line); ok || err != nil {
			return record.Sequence
		}
	}
	return 0
}
