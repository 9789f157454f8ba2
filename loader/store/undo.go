// This file keeps what takes the last change back: the records that it replaced,
// written in its own transaction, so that no crash leaves one without the other.

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// bucketPrevious holds a record, or absent, at the kind and key of everything that
// the last change wrote, and the head.
var (
	bucketPrevious = []byte("previous.2")
	keyHead        = []byte{0}
	absent         = []byte{0} // no record has version 0
)

// previousVersion is that of the head; unknown kinds come with a new one.
const previousVersion = 1

// Inverse is what takes the last change back that touched the entries, suspensions
// or limits of the command line, waits for a confirmation, or was made with Undo.
type Inverse struct {
	Before  uint64    // the generation that it leads back to
	After   uint64    // the generation that it takes back
	Time    time.Time // of the change, where it was logged
	Command string    // likewise

	Delete  []netip.Prefix
	Put     []policy.Claim // each is as old as it was
	Resume  []Subject
	Suspend []Suspension
	Unlimit []string
	Limit   []Limit
	Undo    []byte // as in Change
}

// Change returns the change that rolls back; the caller adds Generation, Log,
// Settle, and Undo for the way forward again. Its own inverse leads forward.
func (i Inverse) Change() Change {
	return Change{Delete: i.Delete, Put: i.Put, Resume: i.Resume, Suspend: i.Suspend, Unlimit: i.Unlimit, Limit: i.Limit}
}

type inverseHead struct {
	Version int       `json:"version"`
	Before  uint64    `json:"before"`
	After   uint64    `json:"after"`
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	Undo    []byte    `json:"undo"`
}

// applyBatches writes the batches and keeps what takes them back. While a change
// waits for its confirmation, later ones are added to it: what comes of a
// rollback is the state before the first, and never a mixture.
func applyBatches(t *txn, change Change, batches []batch, before uint64) error {
	var undo []write
	for _, b := range batches {
		more, err := b.apply(t)
		if err != nil {
			return err
		}
		undo = append(undo, more...)
	}
	waiting, err := putConfirm(t, change)
	if err != nil {
		return err
	}
	// What is taken back may be a million records: the list has them only while somebody
	// waits for a rollback.
	frame := t.frame
	t.frame = nil
	defer func() { t.frame = frame }()
	switch {
	case change.Aside:
		if err := leaveToItself(t, batches); err != nil {
			return err
		}
	case len(undo) > 0 || change.Undo != nil || change.Confirm != nil:
		after, err := readNumber(reader{t.Tx}, keyGeneration)
		if err != nil {
			return err
		}
		head := inverseHead{Version: previousVersion, Before: before, After: after, Undo: change.Undo}
		if change.Log != nil {
			head.Time, head.Command = change.Log.Time, change.Log.Command
		}
		if waiting {
			err = addToPrevious(t, undo, head.After)
		} else {
			err = putPrevious(t, undo, head)
		}
		if err != nil {
			return err
		}
	}
	if frame == nil {
		return nil
	}
	frame.noteEmpty(bucketPrevious)
	if !waiting && change.Confirm == nil {
		return nil
	}
	return reader{t.Tx}.each(bucketPrevious, nil, func(key, record []byte) error {
		frame.note(bucketPrevious, key, record)
		return nil
	})
}

func putPrevious(t *txn, undo []write, head inverseHead) error {
	if err := t.clear(bucketPrevious); err != nil {
		return err
	}
	if err := putJSON(t, bucketPrevious, keyHead, head); err != nil {
		return err
	}
	bucket := t.Bucket(bucketPrevious)
	for _, w := range undo {
		if err := t.replace(bucket, bucketPrevious, w.key, nil, w.record); err != nil {
			return err
		}
	}
	return nil
}

func addToPrevious(t *txn, undo []write, after uint64) error {
	head, err := readHeadOf(reader{t.Tx})
	if err != nil {
		return err
	}
	head.After = after
	if err := putJSON(t, bucketPrevious, keyHead, head); err != nil {
		return err
	}
	for _, w := range undo {
		old, err := t.get(bucketPrevious, w.key)
		if err == nil && old == nil {
			err = t.put(bucketPrevious, w.key, w.record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveToItself has no rollback touch what batches write.
func leaveToItself(t *txn, batches []batch) error {
	if t.Bucket(bucketPrevious) == nil {
		return nil
	}
	for _, b := range batches {
		for _, w := range b.writes {
			if err := t.put(bucketPrevious, append([]byte{b.kind}, w.key...), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func readHeadOf(from source) (head inverseHead, err error) {
	text, err := from.get(bucketPrevious, keyHead)
	if err != nil {
		return head, err
	}
	if text == nil {
		return head, fmt.Errorf("what takes the last change back is not there")
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return head, fmt.Errorf("parse what takes the last change back: %w", err)
	}
	if head.Version != previousVersion {
		return head, fmt.Errorf("what takes the last change back has version %d: %w", head.Version, ErrNewer)
	}
	return head, nil
}

// Previous returns what takes the last change back; false before the first.
func (s *Store) Previous() (inverse Inverse, found bool, err error) {
	err = s.read(func(from source) error {
		if text, err := from.get(bucketPrevious, keyHead); err != nil || text == nil {
			return err
		}
		head, err := readHeadOf(from)
		if err != nil {
			return err
		}
		found = true
		inverse = Inverse{Before: head.Before, After: head.After, Time: head.Time, Command: head.Command, Undo: head.Undo}
		d := newDecoder()
		return from.each(bucketPrevious, nil, func(key, record []byte) error {
			if bytes.Equal(key, keyHead) {
				return nil
			}
			return inverse.add(d, key[0], key[1:], record)
		})
	})
	if err != nil {
		return Inverse{}, false, err
	}
	return inverse, found, nil
}

// add takes in one record of bucketPrevious.
func (i *Inverse) add(d *decoder, kind byte, key, record []byte) error {
	gone := bytes.Equal(record, absent)
	switch kind {
	case kindClaim:
		if gone {
			prefix, err := parseKey(key)
			i.Delete = append(i.Delete, prefix)
			return err
		}
		c, _, err := d.decode(key, record)
		i.Put = append(i.Put, c)
		return err
	case kindLimit:
		if gone {
			i.Unlimit = append(i.Unlimit, string(key))
			return nil
		}
		l, err := decodeLimit(key, record)
		i.Limit = append(i.Limit, l)
		return err
	case kindSuspension:
		if gone {
			subject, err := parseSubject(key)
			i.Resume = append(i.Resume, subject)
			return err
		}
		s, err := decodeSuspension(key, record)
		i.Suspend = append(i.Suspend, s)
		return err
	}
	return fmt.Errorf("record of kind %q: %w", kind, ErrNewer)
}
