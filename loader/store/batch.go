// This file writes the buckets that a rollback restores, and records what they held before.

package store

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// write sets the record of one key, or deletes the key where record is nil.
type write struct{ key, record []byte }

// arena hands out pieces of memory that live as long as each other: a million of their own would
// cost more than what is in them.
type arena struct {
	left []byte
	size int // of the last allocation
}

// next returns an empty slice with room for n bytes.
func (a *arena) next(n int) []byte {
	if n > len(a.left) {
		a.size = max(n, min(2*a.size, 64<<10), 128)
		a.left = make([]byte, a.size)
	}
	piece := a.left[:0:n]
	a.left = a.left[n:]
	return piece
}

// batch is the writes of a change to one bucket, sorted by key, each key once.
type batch struct {
	bucket []byte
	kind   byte // of bucket, in front of its keys in bucketUndo
	writes []write
}

// The kinds, in the order in which bbolt likes them written.
const (
	kindClaim      = 'c'
	kindLimit      = 'l'
	kindSuspension = 's'
)

// encodeAll returns the writes of change for each bucket. It comes before the transaction, which
// is not begun for a change that cannot be encoded.
func encodeAll(change Change) ([]batch, error) {
	claims, err := encodeClaims(policy.OriginCLI, change.Delete, change.Put, change.created())
	if err != nil {
		return nil, err
	}
	limits, err := encodeLimits(change)
	if err != nil {
		return nil, err
	}
	suspensions, err := encodeSuspensions(change)
	if err != nil {
		return nil, err
	}
	return []batch{
		{bucketClaims, kindClaim, lastOfEach(claims)},
		{bucketLimits, kindLimit, lastOfEach(limits)},
		{bucketSuspended, kindSuspension, lastOfEach(suspensions)},
	}, nil
}

// lastOfEach sorts writes by key, the fastest order for bbolt, and keeps the last write of each
// key.
func lastOfEach(writes []write) []write {
	if !slices.IsSortedFunc(writes, func(a, b write) int { return bytes.Compare(a.key, b.key) }) {
		order := make([]int, len(writes)) // to sort in place and keep equal ones in order takes three times as long
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Or(bytes.Compare(writes[a].key, writes[b].key), a-b) })
		sorted := make([]write, len(writes))
		for to, from := range order {
			sorted[to] = writes[from]
		}
		writes = sorted
	}
	last := writes[:0]
	for i, w := range writes {
		if i+1 == len(writes) || !bytes.Equal(w.key, writes[i+1].key) {
			last = append(last, w)
		}
	}
	return last
}

// apply writes the batch and returns its undo, in the form and order of bucketUndo. A record that
// does not change is not written, and is not in the undo.
func (b batch) apply(t *txn) (undo []write, err error) {
	previous := walk(t.Tx, bucketUndo)
	var room arena
	undo = make([]write, 0, len(b.writes))
	err = t.change(b.bucket, b.writes, func(w write, old []byte) ([]byte, error) {
		back := append(append(room.next(1+len(w.key)), b.kind), w.key...)
		if b.kind == kindClaim && w.record != nil {
			if err := keepCreated(previous, w.record, old, back); err != nil {
				return nil, err
			}
		}
		if bytes.Equal(old, w.record) && (old == nil) == (w.record == nil) {
			return old, nil
		}
		was := old
		if was == nil {
			was = absent
		}
		undo = append(undo, write{back, was})
		return w.record, nil
	})
	return undo, err
}

// keepCreated keeps the time when a prefix was first added: for a claim that is updated, and for
// one that the last change removed and that comes back as it was, by rollback or by hand.
func keepCreated(previous *walker, record, old, back []byte) (err error) {
	if old == nil {
		if old, err = previous.find(back); err != nil {
			return err
		}
		if len(old) < headSize || !bytes.Equal(old[:createdAt], record[:createdAt]) || !bytes.Equal(old[headSize:], record[headSize:]) {
			return nil
		}
	}
	copyCreated(record, old)
	return nil
}

// createdAt is where the time when a prefix was first added begins in a record.
const createdAt = 2 + timeSize

// copyCreated gives record the time of old, unless there was none.
func copyCreated(record, old []byte) {
	if record != nil && len(old) >= headSize && old[0] == recordVersion {
		copy(record[createdAt:headSize], old[createdAt:headSize])
	}
}
