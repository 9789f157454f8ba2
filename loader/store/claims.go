// This file stores claims in the database, and single facts.

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	bucketClaims   = []byte("claims.2")   // key of a prefix: record; of other kept origins see claimsOf
	bucketFacts    = []byte("facts.2")    // the keys below
	bucketMeta     = []byte("meta.2")     // the caller's
	bucketDeclared = []byte("declared.2") // number: a piece of the list of what is declared

	keyGeneration = []byte("generation")  // 8 bytes, big endian
	keySerial     = []byte("serial")      // likewise; see Change
	keyLastRecord = []byte("last_record") // JSON, a Record without its lines
	keyConfirm    = []byte("confirm")     // JSON, a Confirm
)

// MetaSince is the key of Store.Meta at which it stands since when counters count.
const MetaSince = "since"

// created is when the claims that c puts were made.
func (c Change) created() time.Time {
	if c.Log != nil {
		return c.Log.Time
	}
	return time.Now()
}

// encodeClaims returns the writes that delete and put claims of a kept origin.
func encodeClaims(origin policy.Origin, remove []netip.Prefix, put []policy.Claim, created time.Time) ([]write, error) {
	writes := make([]write, 0, len(remove)+len(put))
	var room arena
	for _, prefix := range remove {
		if err := checkPrefix(prefix); err != nil {
			return nil, err
		}
		writes = append(writes, write{key: appendKey(room.next(keySize), prefix)})
	}
	for _, c := range put {
		if c.Origin != origin {
			return nil, fmt.Errorf("put %s of %s: it is of origin %s", c.Prefix, origin, c.Origin)
		}
		if err := checkPrefix(c.Prefix); err != nil {
			return nil, err
		}
		record, err := encode(room.next(recordSize(c)), c, created)
		if err != nil {
			return nil, fmt.Errorf("put %s: %w", c.Prefix, err)
		}
		writes = append(writes, write{appendKey(room.next(keySize), c.Prefix), record})
	}
	return writes, nil
}

// checkPrefix refuses a prefix that is not canonical: it would share the key of another one.
func checkPrefix(prefix netip.Prefix) error {
	if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
		return fmt.Errorf("prefix %s is not canonical", prefix)
	}
	return nil
}

func putJSON(t *txn, bucket, key []byte, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return t.put(bucket, key, text)
}

// Claims returns the claims of a kept origin, sorted by policy.ComparePrefix. They share their
// Services slices, which must not be written to. It fails with ErrNewer where a newer release
// wrote a claim, and with a *CorruptError where the database is damaged.
func (s *Store) Claims(origin policy.Origin) ([]policy.Claim, error) {
	if !s.isOpen() {
		var claims []policy.Claim
		for _, c := range s.memory.Claims {
			if c.Origin == origin {
				claims = append(claims, *c)
			}
		}
		return claims, nil
	}
	var claims []policy.Claim
	err := s.read(func(from source) error {
		d := newDecoder(origin)
		return from.each(claimsOf(origin), nil, func(key, record []byte) error {
			c, _, err := d.decode(key, record)
			if len(claims) == cap(claims) { // append grows by a quarter, and would copy a million five times
				claims = slices.Grow(claims, max(64, len(claims)))
			}
			claims = append(claims, c)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// Generation returns the generation of the last change, 0 before the first. Errors are those of
// Claims.
func (s *Store) Generation() (generation uint64, err error) {
	err = s.read(func(from source) (err error) {
		generation, err = readNumber(from, keyGeneration)
		return err
	})
	return generation, err
}

// readNumber returns a number among the facts, 0 where it is missing.
func readNumber(from source, key []byte) (uint64, error) {
	record, err := from.get(bucketFacts, key)
	if err != nil || len(record) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(record), nil
}

// fact reads the JSON at key, and reports whether there is any.
func (s *Store) fact(key []byte, into any) (found bool, err error) {
	err = s.read(func(from source) error {
		record, err := from.get(bucketFacts, key)
		if err != nil || record == nil {
			return err
		}
		found = true
		return json.Unmarshal(record, into)
	})
	return found, err
}

// EachMeta calls fn, in the order of keys, for what Apply put at keys that begin with prefix. fn
// must not change the store, nor keep value. Errors are those of Claims.
func (s *Store) EachMeta(prefix string, fn func(key string, value []byte)) error {
	return s.read(func(from source) error {
		return from.each(bucketMeta, []byte(prefix), func(key, record []byte) error {
			fn(string(key), record)
			return nil
		})
	})
}

// Meta returns a copy of the value that Apply put at key, nil where there is none. Errors are
// those of Claims.
func (s *Store) Meta(key string) (value []byte, err error) {
	err = s.read(func(from source) error {
		record, err := from.get(bucketMeta, []byte(key))
		value = bytes.Clone(record)
		return err
	})
	return value, err
}
