// This file is the database: the claims of the command line, and what must
// change with them in the same transaction.

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	bucketClaims = []byte("claims") // key of a prefix: record
	bucketFacts  = []byte("facts")  // the keys below
	bucketMeta   = []byte("meta")   // the caller's

	keyGeneration = []byte("generation")  // 8 bytes, big endian
	keyLastRecord = []byte("last_record") // JSON, a Record without its lines
	keyConfirm    = []byte("confirm")     // JSON, a Confirm
)

// The keys of Store.Meta in use.
const (
	MetaSince    = "since"    // when the counters began
	MetaSettings = "settings" // what the daemon was last started with
)

// Change is what becomes durable together.
type Change struct {
	Delete     []netip.Prefix // a prefix that is not there is no error
	Put        []policy.Claim // after Delete; one a prefix, the last wins
	Resume     []Subject      // as Delete
	Suspend    []Suspension   // as Put
	Unlimit    []string       // owners; as Delete
	Limit      []Limit        // as Put
	Generation uint64         // 0 leaves it

	Log     *Record  // for the change log; nil is no change that anybody made
	Undo    []byte   // kept in Inverse.Undo; not nil makes it a change to take back, whatever it does here
	Settle  bool     // confirmed or rolled back: nothing waits for a confirmation any longer
	Confirm *Confirm // what waits for one from now on
	Aside   bool     // no rollback takes it back, neither now nor with what waits

	Meta map[string][]byte // a nil value deletes its key
}

// Apply makes a change in one transaction. When it returns nil the change is
// on disk; when it returns an error nothing of it is. It fails with
// ErrUnconfirmed when change asks for a confirmation and another one is due.
func (s *Store) Apply(change Change) error {
	if s.readOnly {
		return ErrReadOnly
	}
	if change.Log != nil {
		change.Log = change.Log.cut(time.Now())
	}
	batches, err := encodeAll(change)
	if err != nil {
		return err
	}
	if err := s.update(func(tx *bolt.Tx) error { return s.apply(tx, change, batches) }); err != nil {
		return err
	}
	if change.Log != nil {
		_ = s.FlushLog() // the change is made: the record waits in the database, and who asks FlushLog hears why
	}
	return nil
}

// update runs fn on the database, all of it or nothing.
func (s *Store) update(fn func(*bolt.Tx) error) error {
	err := guard(func() error { return s.db.Update(fn) })
	var fault *faultError
	if errors.As(err, &fault) {
		return &CorruptError{Path: s.db.Path(), Err: err}
	}
	if err != nil {
		return fmt.Errorf("write state %s: %w", s.db.Path(), err)
	}
	return nil
}

// encodeClaims returns the writes of change.Delete and change.Put.
func encodeClaims(change Change) ([]write, error) {
	created := time.Now()
	if change.Log != nil {
		created = change.Log.Time
	}
	writes := make([]write, 0, len(change.Delete)+len(change.Put))
	for _, prefix := range change.Delete {
		if err := checkPrefix(prefix); err != nil {
			return nil, err
		}
		writes = append(writes, write{key: appendKey(nil, prefix)})
	}
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
		writes = append(writes, write{appendKey(nil, c.Prefix), record})
	}
	return writes, nil
}

// checkPrefix refuses what has no key of its own.
func checkPrefix(prefix netip.Prefix) error {
	if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
		return fmt.Errorf("prefix %s is not canonical", prefix)
	}
	return nil
}

func (s *Store) apply(tx *bolt.Tx, change Change, batches []batch) error {
	facts, err := tx.CreateBucketIfNotExists(bucketFacts)
	if err != nil {
		return err
	}
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	before := readGeneration(facts)
	if change.Generation != 0 {
		if err := facts.Put(keyGeneration, binary.BigEndian.AppendUint64(nil, change.Generation)); err != nil {
			return err
		}
	}
	if change.Log != nil {
		if err := s.putRecord(tx, facts, *change.Log, before); err != nil {
			return err
		}
	}
	if err := applyBatches(tx, facts, change, batches, before); err != nil {
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

func putJSON(bucket *bolt.Bucket, key []byte, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return bucket.Put(key, text)
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

// fact reads the JSON at key and reports whether there is any.
func (s *Store) fact(key []byte, into any) (found bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		facts := tx.Bucket(bucketFacts)
		if facts == nil || facts.Get(key) == nil {
			return nil
		}
		found = true
		return json.Unmarshal(facts.Get(key), into)
	})
	return found, err
}

// EachMeta calls fn for what Apply put at keys that begin with prefix, in their order.
// It must not change the store, nor keep value.
func (s *Store) EachMeta(prefix string, fn func(key string, value []byte)) error {
	return s.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return nil
		}
		cursor := meta.Cursor()
		for key, value := cursor.Seek([]byte(prefix)); bytes.HasPrefix(key, []byte(prefix)); key, value = cursor.Next() {
			fn(string(key), value)
		}
		return nil
	})
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
