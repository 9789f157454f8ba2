// This file stores the use of entries and owners, so that "last seen" and "not used for 90 days" survive a
// restart and a reboot.

package store

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	bucketUse      = []byte("use")       // key of a prefix: record
	bucketOwnerUse = []byte("use_owner") // owner: record
)

// Use is the known use of an entry. Times are in UTC, in whole seconds.
type Use struct {
	FirstEnforced time.Time
	LastSeen      time.Time // zero is never
	Hits          uint64

	// Live is the part of Hits that the kernel counted in the tries that were in force, and
	// Life is the caller's number of these tries: while they are in force, their present
	// count replaces Live.
	Live, Life uint32
}

// OwnerUse counts the openings of an owner's sources.
type OwnerUse struct {
	Passed   uint64
	Audited  uint64            // would have been dropped
	Dropped  map[string]uint64 // by reason
	LastSeen time.Time         // zero is never
}

// Checkpoint is what has changed since the last checkpoint. It has totals and no differences, so that
// writing it twice does no harm.
type Checkpoint struct {
	Use          map[netip.Prefix]Use
	Owners       map[string]OwnerUse
	Forget       []netip.Prefix // unless they are in Use, too
	ForgetOwners []string       // likewise
}

// useBatch bounds the records of one transaction: an add waits for one transaction at most.
const useBatch = 10_000

// SaveUse writes a checkpoint. After a power loss each record is either old or new, but they are not all
// of one moment: a large checkpoint takes several transactions, with changes between them. It fails with
// ErrReadOnly, with an *UnwritableError, and with a *CorruptError where the database is damaged.
func (s *Store) SaveUse(c Checkpoint) error {
	if s.readOnly {
		return ErrReadOnly
	}
	prefixes, err := encodeUses(c)
	if err != nil {
		return err
	}
	owners, err := encodeOwnerUses(c)
	if err != nil {
		return err
	}
	for _, b := range []batch{{bucket: bucketUse, writes: prefixes}, {bucket: bucketOwnerUse, writes: owners}} {
		for writes := range slices.Chunk(b.writes, useBatch) {
			if err := s.update(func(tx *bolt.Tx) error { return overwrite(tx, b.bucket, writes) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func overwrite(tx *bolt.Tx, name []byte, writes []write) error {
	bucket, err := tx.CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	for _, w := range writes {
		if w.record == nil {
			err = bucket.Delete(w.key)
		} else {
			err = bucket.Put(w.key, w.record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// encodeUses returns the writes sorted by key, because neighbours share pages.
func encodeUses(c Checkpoint) ([]write, error) {
	writes := make([]write, 0, len(c.Forget)+len(c.Use))
	for _, prefix := range c.Forget {
		if err := checkPrefix(prefix); err != nil {
			return nil, err
		}
		writes = append(writes, write{key: appendKey(nil, prefix)})
	}
	for prefix, use := range c.Use {
		if err := checkPrefix(prefix); err != nil {
			return nil, err
		}
		writes = append(writes, write{appendKey(nil, prefix), encodeUse(use)})
	}
	return lastOfEach(writes), nil
}

func encodeOwnerUses(c Checkpoint) (writes []write, err error) {
	for _, owner := range c.ForgetOwners {
		if err := policy.ParseName("owner", owner); err != nil {
			return nil, err
		}
		writes = append(writes, write{key: []byte(owner)})
	}
	for owner, use := range c.Owners {
		if err := policy.ParseName("owner", owner); err != nil {
			return nil, err
		}
		record, err := encodeOwnerUse(use)
		if err != nil {
			return nil, fmt.Errorf("use of owner %s: %w", owner, err)
		}
		writes = append(writes, write{[]byte(owner), record})
	}
	return lastOfEach(writes), nil
}

// EachUse calls fn for each prefix, in the order of policy.ComparePrefix, without loading all of them
// into memory. fn must not change the store. Errors are those of Claims.
func (s *Store) EachUse(fn func(netip.Prefix, Use)) error {
	return s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketUse)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(key, record []byte) error {
			prefix, err := parseKey(key)
			if err != nil {
				return err
			}
			use, err := decodeUse(record)
			if err != nil {
				return fmt.Errorf("use of %s: %w", prefix, err)
			}
			fn(prefix, use)
			return nil
		})
	})
}

// UseOf returns the use of those of prefixes that have one. It is quick where they are neighbours in
// the order of policy.ComparePrefix. Errors are those of Claims.
func (s *Store) UseOf(prefixes []netip.Prefix) (map[netip.Prefix]Use, error) {
	known := make(map[netip.Prefix]Use, len(prefixes))
	err := s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketUse)
		if bucket == nil {
			return nil
		}
		var want []byte
		cursor := bucket.Cursor()
		key, record := cursor.First()
		for _, prefix := range prefixes {
			if err := checkPrefix(prefix); err != nil {
				return err
			}
			want = appendKey(want[:0], prefix)
			if key != nil && bytes.Compare(key, want) < 0 {
				key, record = cursor.Next() // of a million neighbours it is this one
			}
			if !bytes.Equal(key, want) {
				if key, record = cursor.Seek(want); !bytes.Equal(key, want) {
					continue
				}
			}
			use, err := decodeUse(record)
			if err != nil {
				return fmt.Errorf("use of %s: %w", prefix, err)
			}
			known[prefix] = use
		}
		return nil
	})
	return known, err
}

// OwnerUse returns the totals of each owner. Errors are those of Claims.
func (s *Store) OwnerUse() (map[string]OwnerUse, error) {
	owners := make(map[string]OwnerUse)
	err := s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketOwnerUse)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(key, record []byte) error {
			use, err := decodeOwnerUse(record)
			if err != nil {
				return fmt.Errorf("use of owner %s: %w", key, err)
			}
			owners[string(key)] = use
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return owners, nil
}
