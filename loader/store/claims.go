// This file is the database: the claims of the command line, and the few facts
// about them that must change in the same transaction.

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	bucketClaims = []byte("claims") // key of a prefix: record
	bucketFacts  = []byte("facts")  // the two keys below
	bucketMeta   = []byte("meta")   // the caller's

	keyGeneration = []byte("generation")  // 8 bytes, big endian
	keyLastChange = []byte("last_change") // JSON
)

// The keys of Store.Meta in use.
const (
	MetaSince    = "since"    // when the counters began
	MetaSettings = "settings" // what the daemon was last started with
)

// LastChange says who changed what, when and why.
type LastChange struct {
	Time   time.Time `json:"time"` // UTC
	Who    string    `json:"who"`
	What   string    `json:"what"`
	Why    string    `json:"why"`
	Before uint64    `json:"before"` // generation; set by Apply
	After  uint64    `json:"after"`  // generation; set by Apply
}

// Change is what becomes durable together.
type Change struct {
	Delete     []netip.Prefix    // a prefix that is not there is no error
	Put        []policy.Claim    // after Delete; one a prefix, the last wins
	Generation uint64            // 0 leaves it
	Last       LastChange        // without Time it is left
	Meta       map[string][]byte // a nil value deletes its key
}

// Apply makes a change in one transaction. When it returns nil the change is
// on disk; when it returns an error nothing of it is.
func (s *Store) Apply(change Change) error {
	if s.readOnly {
		return ErrReadOnly
	}
	puts, err := encodeAll(change)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return apply(tx, change, puts) })
	})
	var fault *faultError
	if errors.As(err, &fault) {
		return &CorruptError{Path: s.db.Path(), Err: err}
	}
	if err != nil {
		return fmt.Errorf("write state %s: %w", s.db.Path(), err)
	}
	return nil
}

type put struct{ key, record []byte }

// encodeAll returns change.Put as bbolt likes it best: in the order of keys.
func encodeAll(change Change) ([]put, error) {
	created := change.Last.Time
	if created.IsZero() {
		created = time.Now()
	}
	puts := make([]put, 0, len(change.Put))
	for _, c := range change.Put {
		if c.Origin != policy.OriginCLI {
			return nil, fmt.Errorf("put %s: origin %s is declared, not kept", c.Prefix, c.Origin)
		}
		if err := checkPrefix(c.Prefix); err != nil {
			return nil, err
		}
		record, err := encode(c, created)
		if err != nil {
			return nil, fmt.Errorf("put %s: %w", c.Prefix, err)
		}
		puts = append(puts, put{appendKey(nil, c.Prefix), record})
	}
	for _, prefix := range change.Delete {
		if err := checkPrefix(prefix); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(puts, func(a, b put) int { return bytes.Compare(a.key, b.key) })
	return puts, nil
}

// checkPrefix refuses what has no key of its own.
func checkPrefix(prefix netip.Prefix) error {
	if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
		return fmt.Errorf("prefix %s is not canonical", prefix)
	}
	return nil
}

func apply(tx *bolt.Tx, change Change, puts []put) error {
	var buckets [3]*bolt.Bucket
	for i, name := range [][]byte{bucketClaims, bucketFacts, bucketMeta} {
		var err error
		if buckets[i], err = tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	claims, facts, meta := buckets[0], buckets[1], buckets[2]
	if err := putClaims(claims, change.Delete, puts); err != nil {
		return err
	}
	if err := putFacts(facts, change); err != nil {
		return err
	}
	for key, value := range change.Meta {
		if err := putMeta(meta, []byte(key), value); err != nil {
			return err
		}
	}
	return nil
}

func putMeta(meta *bolt.Bucket, key, value []byte) error {
	if value == nil {
		return meta.Delete(key)
	}
	return meta.Put(key, value)
}

// putClaims keeps the time of creation of a claim that is only updated.
func putClaims(claims *bolt.Bucket, deletes []netip.Prefix, puts []put) error {
	for _, prefix := range deletes {
		if err := claims.Delete(appendKey(nil, prefix)); err != nil {
			return err
		}
	}
	const createdAt = 2 + timeSize
	for _, p := range puts {
		if old := claims.Get(p.key); len(old) >= headSize && old[0] == recordVersion {
			copy(p.record[createdAt:headSize], old[createdAt:headSize])
		}
		if err := claims.Put(p.key, p.record); err != nil {
			return err
		}
	}
	return nil
}

func putFacts(facts *bolt.Bucket, change Change) error {
	before := readGeneration(facts)
	after := before
	if change.Generation != 0 {
		after = change.Generation
		if err := facts.Put(keyGeneration, binary.BigEndian.AppendUint64(nil, after)); err != nil {
			return err
		}
	}
	if change.Last.Time.IsZero() {
		return nil
	}
	last := change.Last
	last.Before, last.After = before, after
	value, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return facts.Put(keyLastChange, value)
}

// Claims returns the claims of the command line by policy.ComparePrefix. They
// share their Services slices, which must not be written to.
func (s *Store) Claims() ([]policy.Claim, error) {
	var claims []policy.Claim
	err := s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketClaims)
		if bucket == nil {
			return nil
		}
		claims = make([]policy.Claim, 0, bucket.Stats().KeyN) // growing to a million costs more than counting
		d := newDecoder()
		return bucket.ForEach(func(key, record []byte) error {
			c, _, err := d.decode(key, record)
			claims = append(claims, c)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// Generation returns the generation of the last change, 0 before the first.
func (s *Store) Generation() (generation uint64, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		generation = readGeneration(tx.Bucket(bucketFacts))
		return nil
	})
	return generation, err
}

func readGeneration(facts *bolt.Bucket) uint64 {
	if facts == nil {
		return 0
	}
	value := facts.Get(keyGeneration)
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

// LastChange returns the last change, with a zero Time before the first.
func (s *Store) LastChange() (last LastChange, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		if facts := tx.Bucket(bucketFacts); facts != nil && facts.Get(keyLastChange) != nil {
			return json.Unmarshal(facts.Get(keyLastChange), &last)
		}
		return nil
	})
	return last, err
}

// Meta returns a copy of the value that Apply put at key, nil if there is none.
func (s *Store) Meta(key string) (value []byte, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		if meta := tx.Bucket(bucketMeta); meta != nil {
			value = bytes.Clone(meta.Get([]byte(key)))
		}
		return nil
	})
	return value, err
}
