// This file converts the database of releases before 0.2, which had no checksums and nothing of what
// is declared. It also keeps those releases from reading a part of the present database.

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

// warning is a claim that an older release reads first, and refuses with "written by a newer release".
// Without it that release would find no suspensions, and let in who is suspended.
var (
	warning       = []byte{family4, 0, 0, 0, 0, 32}
	warningRecord = []byte{sealVersion}
)

// convert brings an older database into the present form, with what is declared.
func (s *Store) convert() error {
	done := false
	err := s.view(func(tx *bolt.Tx) error {
		done = tx.Bucket(bucketFacts) != nil
		return nil
	})
	if err != nil || done {
		return err
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
			if err := bucket.ForEach(func(key, record []byte) error {
				return t.put(now, bytes.Clone(key), bytes.Clone(record))
			}); err != nil {
				return err
			}
			if err := tx.DeleteBucket([]byte(name)); err != nil {
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

// warn puts the warning into the database.
func warn(tx *bolt.Tx) error {
	old, err := tx.CreateBucketIfNotExists([]byte("claims"))
	if err != nil {
		return err
	}
	return old.Put(warning, warningRecord)
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
	previous, err := loadFile(filepath.Join(s.dir, previousName), policy.OriginCLI)
	if err != nil || previous.Generation > committed || errors.Is(err, ErrNewer) {
		return list
	}
	return previous
}
