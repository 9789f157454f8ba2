// This file converts older databases: of releases before 0.2, which had no checksums and nothing of
// what is declared, and of those that had a record of the database for each claim. It also keeps
// those releases from reading a part of the present database.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// oldBuckets maps the buckets of old releases to the present ones.
var oldBuckets = map[string][]byte{
	"claims": bucketClaims, "suspended": bucketSuspended, "limits": bucketLimits,
	"facts": bucketFacts, "meta": bucketMeta, "previous": bucketUndo,
}

// warnings are claims that older releases read first, and refuse with "written by a newer release".
// Without the one a release before 0.2 would find no suspensions, and let in who is suspended;
// without the other a release that did not pack claims would take this database for a damaged one.
var (
	warning  = []byte{family4, 0, 0, 0, 0, 32}
	warnings = map[string][]byte{"claims": {sealVersion}, string(bucketClaims): {sealVersion + 1}}
)

// age is which releases wrote a database.
type age int

const (
	present  age = iota
	unpacked     // a record of the database for each claim
	unsealed     // before 0.2
)

func ageOf(tx *bolt.Tx) age {
	claims := tx.Bucket(bucketClaims)
	switch {
	case tx.Bucket(bucketFacts) == nil:
		return unsealed
	case claims != nil && bytes.Equal(claims.Get(warning), warnings[string(bucketClaims)]):
		return present
	case claims != nil || tx.Bucket(bucketUndo) != nil:
		return unpacked
	}
	return present // without a claim
}

// convert brings an older database into the present form, with what is declared.
func (s *Store) convert() error {
	age := present
	err := s.view(func(tx *bolt.Tx) error {
		age = ageOf(tx)
		return nil
	})
	switch {
	case err != nil || age == present:
		return err
	case age == unpacked:
		return s.update(repack)
	}
	declared := s.declaredBefore()
	return s.update(func(tx *bolt.Tx) error {
		t, err := begun(tx)
		if err != nil {
			return err
		}
		found := false
		for name, now := range oldBuckets {
			bucket := tx.Bucket([]byte(name))
			if bucket == nil {
				continue
			}
			found = true
			var writes []write
			if err := bucket.ForEach(func(key, record []byte) error {
				writes = append(writes, write{bytes.Clone(key), bytes.Clone(record)})
				return nil
			}); err != nil {
				return err
			}
			if err := errors.Join(t.change(now, writes, nil), tx.DeleteBucket([]byte(name))); err != nil {
				return err
			}
		}
		if !found { // it is new
			return nil
		}
		if err := t.put(bucketFacts, keySerial, binary.BigEndian.AppendUint64(nil, 1)); err != nil {
			return err
		}
		if len(declared.Services) > 0 {
			if err := putDeclared(t, declared); err != nil {
				return err
			}
		}
		if err := warn(tx); err != nil {
			return err
		}
		return t.finish()
	})
}

// repack packs what a release had as a record of the database each.
func repack(tx *bolt.Tx) error {
	t, err := begun(tx)
	if err != nil {
		return err
	}
	for _, name := range [][]byte{bucketClaims, bucketUndo} {
		bucket := tx.Bucket(name)
		if bucket == nil {
			continue
		}
		var writes []write
		if err := bucket.ForEach(func(key, value []byte) error {
			record, err := unseal(name, key, value)
			writes = append(writes, write{bytes.Clone(key), bytes.Clone(record)})
			t.sum -= weight(value)
			return err
		}); err != nil {
			return err
		}
		if err := errors.Join(t.change(name, writes, nil), tx.DeleteBucket(name)); err != nil {
			return err
		}
	}
	return errors.Join(warn(tx), t.finish())
}

// warn puts the warnings into the database, unless they are there.
func warn(tx *bolt.Tx) error {
	for name, record := range warnings {
		bucket, err := tx.CreateBucketIfNotExists([]byte(name))
		if err == nil && !bytes.Equal(bucket.Get(warning), record) {
			err = bucket.Put(warning, record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// declaredBefore returns what the list declares as of the last committed change. An older release
// wrote the list before it committed: after a power loss between the two, the list has a change
// that was never made, and the list before it counts.
func (s *Store) declaredBefore() Effective {
	if s.memory.Serial > 0 {
		return s.memory.Effective
	}
	list := s.memory.Effective
	committed := uint64(0)
	_ = s.view(func(tx *bolt.Tx) error {
		if facts := tx.Bucket([]byte("facts")); facts != nil {
			if value := facts.Get(keyGeneration); len(value) == 8 {
				committed = binary.BigEndian.Uint64(value)
			}
		}
		return nil
	})
	if committed == 0 || list.Generation <= committed {
		return list
	}
	previous, err := loadFile(filepath.Join(s.dir, previousName), policy.Origin.Kept)
	if err != nil || previous.Generation > committed || errors.Is(err, ErrNewer) {
		return list
	}
	return previous
}
