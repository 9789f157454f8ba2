// This file keeps what takes the last change back: the records that it replaced,
// written in its own transaction, so that no crash leaves one without the other.

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// bucketPrevious holds a record, or absent, at the kind and key of everything that
// the last change wrote, and the head.
var (
	bucketPrevious = []byte("previous")
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
func applyBatches(tx *bolt.Tx, facts *bolt.Bucket, change Change, batches []batch, before uint64) error {
	var undo []write
	for _, b := range batches {
		more, err := b.apply(tx)
		if err != nil {
			return err
		}
		undo = append(undo, more...)
	}
	waiting, err := putConfirm(facts, change)
	if err != nil {
		return err
	}
	if change.Aside {
		return leaveToItself(tx, batches)
	}
	if len(undo) == 0 && change.Undo == nil && change.Confirm == nil {
		return nil
	}
	head := inverseHead{Version: previousVersion, Before: before, After: readGeneration(facts), Undo: change.Undo}
	if change.Log != nil {
		head.Time, head.Command = change.Log.Time, change.Log.Command
	}
	if waiting {
		return addToPrevious(tx, undo, head.After)
	}
	return putPrevious(tx, undo, head)
}

func putPrevious(tx *bolt.Tx, undo []write, head inverseHead) error {
	if tx.Bucket(bucketPrevious) != nil {
		if err := tx.DeleteBucket(bucketPrevious); err != nil {
			return err
		}
	}
	previous, err := tx.CreateBucket(bucketPrevious)
	if err != nil {
		return err
	}
	if err := putJSON(previous, keyHead, head); err != nil {
		return err
	}
	for _, w := range undo {
		if err := previous.Put(w.key, w.record); err != nil {
			return err
		}
	}
	return nil
}

func addToPrevious(tx *bolt.Tx, undo []write, after uint64) error {
	previous := tx.Bucket(bucketPrevious)
	head, err := readHeadOf(previous)
	if err != nil {
		return err
	}
	head.After = after
	if err := putJSON(previous, keyHead, head); err != nil {
		return err
	}
	for _, w := range undo {
		if previous.Get(w.key) != nil {
			continue
		}
		if err := previous.Put(w.key, w.record); err != nil {
			return err
		}
	}
	return nil
}

// leaveToItself has no rollback touch what batches write.
func leaveToItself(tx *bolt.Tx, batches []batch) error {
	previous := tx.Bucket(bucketPrevious)
	if previous == nil {
		return nil
	}
	for _, b := range batches {
		for _, w := range b.writes {
			if err := previous.Delete(append([]byte{b.kind}, w.key...)); err != nil {
				return err
			}
		}
	}
	return nil
}

func readHeadOf(previous *bolt.Bucket) (head inverseHead, err error) {
	if previous == nil {
		return head, fmt.Errorf("what takes the last change back is not there")
	}
	if err := json.Unmarshal(previous.Get(keyHead), &head); err != nil {
		return head, fmt.Errorf("parse what takes the last change back: %w", err)
	}
	if head.Version != previousVersion {
		return head, fmt.Errorf("what takes the last change back has version %d: %w", head.Version, ErrNewer)
	}
	return head, nil
}

// Previous returns what takes the last change back; false before the first.
func (s *Store) Previous() (inverse Inverse, found bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		previous := tx.Bucket(bucketPrevious)
		if previous == nil {
			return nil
		}
		head, err := readHeadOf(previous)
		if err != nil {
			return err
		}
		found = true
		inverse = Inverse{Before: head.Before, After: head.After, Time: head.Time, Command: head.Command, Undo: head.Undo}
		d := newDecoder()
		return previous.ForEach(func(key, record []byte) error {
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
