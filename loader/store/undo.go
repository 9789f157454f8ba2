// This file stores the undo of the last change: the records that the change replaced. They
// are written in the transaction of the change, so that no crash leaves one without the other.

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// bucketUndo holds a head, and for everything that the last change wrote, at its kind and
// key, the record from before, or absent.
var (
	bucketUndo = []byte("previous.2")
	keyHead    = []byte{0}
	absent     = []byte{0} // there was no record; no record has version 0
)

// undoVersion is that of the head; unknown kinds come with a new one.
const undoVersion = 1

// Undo takes back the last change of entries, suspensions or limits of the command line,
// the last one that waits for a confirmation, or the last one with UndoData, whichever came
// last. Its slices belong to the caller.
type Undo struct {
	Before  uint64    // the generation that it leads back to
	After   uint64    // the generation that it takes back
	Time    time.Time // of the change; zero where the change was not logged
	Command string    // of the change; likewise ""

	Delete  []netip.Prefix
	Put     []policy.Claim // with the creation times that they had
	Resume  []policy.Subject
	Suspend []Suspension
	Unlimit []string // owners
	Limit   []Limit
	Data    []byte // UndoData of the change
}

type undoHead struct {
	Version int       `json:"version"`
	Before  uint64    `json:"before"`
	After   uint64    `json:"after"`
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	Data    []byte    `json:"undo"`
}

// applyBatches writes the batches and stores their undo. While a change waits for its
// confirmation, later changes are added to its undo: a rollback leads to the state before
// the first of them, and never to a mixture.
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
	// The undo may be a million records: the list on disk has them only while a change
	// waits for its confirmation.
	frame := t.frame
	t.frame = nil
	defer func() { t.frame = frame }()
	switch {
	case change.Aside:
		if err := exempt(t, batches); err != nil {
			return err
		}
	case len(undo) > 0 || change.UndoData != nil || change.Confirm != nil:
		after, err := readNumber(reader{t.Tx}, keyGeneration)
		if err != nil {
			return err
		}
		head := undoHead{Version: undoVersion, Before: before, After: after, Data: change.UndoData}
		if change.Log != nil {
			head.Time, head.Command = change.Log.Time, change.Log.Command
		}
		if waiting {
			err = addToUndo(t, undo, head.After)
		} else {
			err = putUndo(t, undo, head)
		}
		if err != nil {
			return err
		}
	}
	if frame == nil {
		return nil
	}
	frame.noteEmpty(bucketUndo)
	if !waiting && change.Confirm == nil {
		return nil
	}
	return reader{t.Tx}.each(bucketUndo, nil, func(key, record []byte) error {
		frame.note(bucketUndo, key, record)
		return nil
	})
}

func putUndo(t *txn, undo []write, head undoHead) error {
	if err := t.clear(bucketUndo); err != nil {
		return err
	}
	if err := putJSON(t, bucketUndo, keyHead, head); err != nil {
		return err
	}
	return t.change(bucketUndo, undo, nil)
}

func addToUndo(t *txn, undo []write, after uint64) error {
	head, err := readHeadOf(reader{t.Tx})
	if err != nil {
		return err
	}
	head.After = after
	if err := putJSON(t, bucketUndo, keyHead, head); err != nil {
		return err
	}
	return t.change(bucketUndo, undo, func(w write, old []byte) ([]byte, error) {
		if old != nil {
			return old, nil
		}
		return w.record, nil
	})
}

// exempt takes what batches write out of the stored undo: no rollback touches it.
func exempt(t *txn, batches []batch) error {
	var gone []write
	for _, b := range batches {
		for _, w := range b.writes {
			gone = append(gone, write{key: append([]byte{b.kind}, w.key...)})
		}
	}
	return t.change(bucketUndo, gone, nil)
}

func readHeadOf(from source) (head undoHead, err error) {
	text, err := from.get(bucketUndo, keyHead)
	if err != nil {
		return head, err
	}
	if text == nil {
		return head, fmt.Errorf("the undo of the last change is missing")
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return head, fmt.Errorf("parse the undo of the last change: %w", err)
	}
	if head.Version != undoVersion {
		return head, fmt.Errorf("the undo of the last change has version %d: %w", head.Version, ErrNewer)
	}
	return head, nil
}

// LoadUndo returns the undo of the last change; false where there is none. It fails with
// ErrNewer where a newer release wrote it, and with a *CorruptError where the database
// cannot be read.
func (s *Store) LoadUndo() (undo Undo, found bool, err error) {
	err = s.read(func(from source) error {
		if text, err := from.get(bucketUndo, keyHead); err != nil || text == nil {
			return err
		}
		head, err := readHeadOf(from)
		if err != nil {
			return err
		}
		found = true
		undo = Undo{Before: head.Before, After: head.After, Time: head.Time, Command: head.Command, Data: head.Data}
		d := newDecoder(policy.OriginCLI)
		return from.each(bucketUndo, nil, func(key, record []byte) error {
			if bytes.Equal(key, keyHead) {
				return nil
			}
			return undo.add(d, key[0], key[1:], record)
		})
	})
	if err != nil {
		return Undo{}, false, err
	}
	return undo, found, nil
}

// add takes in one record of bucketUndo.
func (u *Undo) add(d *decoder, kind byte, key, record []byte) error {
	gone := bytes.Equal(record, absent)
	switch kind {
	case kindClaim:
		if gone {
			prefix, err := parseKey(key)
			u.Delete = append(u.Delete, prefix)
			return err
		}
		c, _, err := d.decode(key, record)
		u.Put = append(u.Put, c)
		return err
	case kindLimit:
		if gone {
			u.Unlimit = append(u.Unlimit, string(key))
			return nil
		}
		l, err := decodeLimit(key, record)
		u.Limit = append(u.Limit, l)
		return err
	case kindSuspension:
		if gone {
			subject, err := parseSubject(key)
			u.Resume = append(u.Resume, subject)
			return err
		}
		s, err := decodeSuspension(key, record)
		u.Suspend = append(u.Suspend, s)
		return err
	}
	return fmt.Errorf("record of kind %q: %w", kind, ErrNewer)
}
