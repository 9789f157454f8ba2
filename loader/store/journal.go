// This file is effective.changes, the changes that the list does not have yet. A list of a million lines
// takes a second to write, and a change must be acknowledged in milliseconds: each change is appended
// here, on disk, before it is committed to the database.

package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

const (
	journalName = "effective.changes"
	// journalRoom is how large the file may be before the changes that both lists have are
	// removed.
	journalRoom = 64 << 10
)

// A change in the file: a line "change SERIAL BYTES SUM", SUM the hexadecimal SHA-256 of
// SERIAL and body, and the body of so many BYTES, a line for each record: bucket, key and
// record in base64. A record "-" is deleted; a key "-" empties its bucket.
const (
	frameMark = "change"
	nothing   = "-"
)

var base = base64.RawStdEncoding

// frame is one change in the file.
type frame struct {
	serial uint64
	body   []byte
}

func (f *frame) note(bucket, key, record []byte) {
	f.body = append(append(f.body, bucket...), ' ')
	f.body = append(base.AppendEncode(f.body, key), ' ')
	if record == nil {
		f.body = append(f.body, nothing...)
	} else {
		f.body = base.AppendEncode(f.body, record)
	}
	f.body = append(f.body, '\n')
}

func (f *frame) noteEmpty(bucket []byte) {
	f.body = fmt.Appendf(f.body, "%s - -\n", bucket)
}

func (f *frame) sum() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n", f.serial)
	sum.Write(f.body)
	return hex.EncodeToString(sum.Sum(nil))
}

// text returns the frame as it is in the file.
func (f *frame) text() []byte {
	return append(fmt.Appendf(nil, "%s %d %d %s\n", frameMark, f.serial, len(f.body), f.sum()), f.body...)
}

// each calls fn for each record of the frame. record is nil for one that is deleted, key
// is nil where the bucket is emptied.
func (f *frame) each(fn func(bucket string, key, record []byte) error) error {
	for line := range bytes.Lines(f.body) {
		bucket, key, record, err := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if err == nil {
			err = fn(bucket, key, record)
		}
		if err != nil {
			return fmt.Errorf("change %d: %w", f.serial, err)
		}
	}
	return nil
}

// parseRecord reads what frame.note wrote, without the end of the line.
func parseRecord(line []byte) (bucket string, key, record []byte, err error) {
	field := bytes.Split(line, []byte(" "))
	if len(field) != 3 {
		return "", nil, nil, errors.New("a record is no three words")
	}
	decode := func(text []byte) []byte {
		if string(text) == nothing {
			return nil
		}
		out := make([]byte, base.DecodedLen(len(text)))
		n, e := base.Decode(out, text)
		err = errors.Join(err, e)
		return out[:n]
	}
	key, record = decode(field[1]), decode(field[2])
	return string(field[0]), key, record, err
}

// cutFrame returns the first frame of text and the rest; false where there is no complete frame.
func cutFrame(text []byte) (f frame, rest []byte, ok bool) {
	end := bytes.IndexByte(text, '\n')
	if end < 0 {
		return f, nil, false
	}
	var size int
	var sum string
	n, err := fmt.Sscanf(string(text[:end]), frameMark+" %d %d %s", &f.serial, &size, &sum)
	rest = text[end+1:]
	if err != nil || n != 3 || size < 0 || size > len(rest) {
		return f, nil, false
	}
	f.body, rest = rest[:size], rest[size:]
	return f, rest, f.sum() == sum
}

// loadJournal returns the changes in the file, in order, up to the first incomplete one, and how many
// bytes they take.
func loadJournal(dir string) (frames []frame, size int64, err error) {
	text, err := os.ReadFile(filepath.Join(dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	rest := text
	for {
		f, after, ok := cutFrame(rest)
		if !ok {
			return frames, int64(len(text) - len(rest)), nil
		}
		frames, rest = append(frames, f), after
	}
}

// following returns the changes after serial, up to the first gap.
func following(frames []frame, serial uint64) (next []frame) {
	for _, f := range frames {
		if f.serial == serial+1 {
			next, serial = append(next, f), f.serial
		}
	}
	return next
}

// errJournal means that effective.changes is not as this process left it.
var errJournal = errors.New(journalName + " was changed by another")

// append makes the frame durable. It cuts off what is behind the last complete change, because that was
// never acknowledged.
func (s *Store) append(f *frame) (err error) {
	s.journaling.Lock()
	defer s.journaling.Unlock()
	path := filepath.Join(s.dir, journalName)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	created := errors.Is(err, fs.ErrNotExist)
	if created && s.appended > 0 {
		return errJournal
	}
	if created {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch size := info.Size(); {
	case size < s.appended:
		return errJournal
	case size > s.appended:
		if err := file.Truncate(s.appended); err != nil {
			return err
		}
	}
	text := f.text()
	if _, err := file.WriteAt(text, s.appended); err != nil {
		return errors.Join(err, file.Truncate(s.appended))
	}
	if err := file.Sync(); err != nil {
		return errors.Join(err, file.Truncate(s.appended))
	}
	if created {
		if err := syncDir(s.dir); err != nil {
			return err
		}
	}
	s.appended += int64(len(text))
	return nil
}

// begin makes the next change begin the file again.
func (s *Store) begin() {
	s.journaling.Lock()
	defer s.journaling.Unlock()
	s.appended, s.covered = 0, 0
}

// takeBack cuts off the last frame, whose change failed to commit. Where it fails the next append cuts it
// off.
func (s *Store) takeBack(f *frame) {
	s.journaling.Lock()
	defer s.journaling.Unlock()
	s.appended -= int64(len(f.text()))
	if file, err := os.OpenFile(filepath.Join(s.dir, journalName), os.O_RDWR, 0); err == nil {
		_ = errors.Join(file.Truncate(s.appended), file.Sync(), file.Close())
	}
}

// compact removes the changes up to serial, which both lists have. The caller holds s.saving.
func (s *Store) compact(serial uint64) error {
	s.journaling.Lock()
	defer s.journaling.Unlock()
	if s.appended < journalRoom {
		return nil
	}
	frames, _, err := loadJournal(s.dir)
	if err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(filepath.Join(s.dir, journalName), renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }()
	size := int64(0)
	for _, f := range frames {
		if f.serial <= serial {
			continue
		}
		n, err := io.Copy(file, bytes.NewReader(f.text()))
		if err != nil {
			return err
		}
		size += n
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return err
	}
	s.appended = size
	return syncDir(s.dir)
}
