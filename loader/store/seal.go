// This file gives each record in the database a checksum, and all of them together a sum. bbolt does
// not check pages: a record that a disk changed or lost could let somebody in.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// A value of the database: version, CRC-32C of bucket, key and record (4 bytes, big
// endian), record. No record began with version 2 before there were checksums.
const (
	sealVersion = 2
	sealSize    = 1 + crc32.Size
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errChecksum = errors.New("its checksum does not match")
)

func checksum(bucket, key, record []byte) uint32 {
	sum := crc32.Update(uint32(len(key)), castagnoli, bucket)
	return crc32.Update(crc32.Update(sum, castagnoli, key), castagnoli, record)
}

func seal(bucket, key, record []byte) []byte {
	value := make([]byte, sealSize, sealSize+len(record))
	value[0] = sealVersion
	binary.BigEndian.PutUint32(value[1:], checksum(bucket, key, record))
	return append(value, record...)
}

// unseal returns the record in value, a part of the same memory.
func unseal(bucket, key, value []byte) ([]byte, error) {
	switch {
	case len(value) > 0 && value[0] > sealVersion:
		return nil, fmt.Errorf("record %x of %s has version %d: %w", key, bucket, value[0], ErrNewer)
	case len(value) < sealSize || value[0] != sealVersion:
		return nil, fmt.Errorf("record %x of %s: %w", key, bucket, errShort)
	case binary.BigEndian.Uint32(value[1:]) != checksum(bucket, key, value[sealSize:]):
		return nil, fmt.Errorf("record %x of %s: %w", key, bucket, errChecksum)
	}
	return value[sealSize:], nil
}

// weight is what a sealed value adds to the sum of all. Weights are added and subtracted in any
// order. The mixing makes it unlikely that two records have the same sum as two others.
func weight(value []byte) uint64 {
	if len(value) < sealSize {
		return 0
	}
	x := uint64(binary.BigEndian.Uint32(value[1:])) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// keySum is the key of the sum in bucketFacts. It counts for nothing in the sum itself.
var keySum = []byte("sum")

// sealed are the buckets that are kept twice: in the database and in the list. With those of
// followed origins see sealedIn.
var sealed = [][]byte{bucketClaims, bucketSuspended, bucketLimits, bucketFacts, bucketMeta, bucketUndo, bucketDeclared, bucketOrigins}

// txn is a transaction that writes sealed records, keeps their sum, and collects in frame what the
// list must have.
type txn struct {
	*bolt.Tx
	sum    uint64
	serial uint64 // of the change; 0 is a note
	frame  *frame // nil: the list is written whole, or not concerned
}

// begun returns tx as a txn. Call finish in the end.
func begun(tx *bolt.Tx) (*txn, error) {
	t := &txn{Tx: tx}
	record, err := t.get(bucketFacts, keySum)
	if err != nil {
		return nil, err
	}
	if len(record) == 8 {
		t.sum = binary.BigEndian.Uint64(record)
	}
	return t, nil
}

// finish writes the sum.
func (t *txn) finish() error {
	facts, err := t.CreateBucketIfNotExists(bucketFacts)
	if err != nil {
		return err
	}
	return facts.Put(keySum, seal(bucketFacts, keySum, binary.BigEndian.AppendUint64(nil, t.sum)))
}

// get returns the record at key, nil where there is none. It is good until the next
// write.
func (t *txn) get(name, key []byte) ([]byte, error) { return reader{t.Tx}.get(name, key) }

// note has the list get a record, or know that it is deleted.
func (t *txn) note(name, key, record []byte) {
	if t.frame != nil {
		t.frame.note(name, key, record)
	}
}

// put writes a record; nil deletes its key.
func (t *txn) put(name, key, record []byte) error {
	return t.change(name, []write{{key, record}}, nil)
}

// change makes writes, which are sorted by key, each key once. decide, where it is not nil, is given
// the record before, nil where there was none, and returns what is written. Both keep their bytes
// until the transaction ends.
func (t *txn) change(name []byte, writes []write, decide func(w write, old []byte) ([]byte, error)) error {
	in, packed := bucketIn(name)
	bucket, err := t.CreateBucketIfNotExists(in)
	if err != nil {
		return err
	}
	if packed {
		return t.changePacked(bucket, name, writes, decide)
	}
	for _, w := range writes {
		sealed := bucket.Get(w.key)
		record := w.record
		if decide != nil {
			var old []byte
			if sealed != nil {
				if old, err = unseal(name, w.key, sealed); err != nil {
					return err
				}
				old = bytes.Clone(old) // bbolt may move its own while we write
			}
			if record, err = decide(w, old); err != nil {
				return err
			}
			if bytes.Equal(old, record) && (old == nil) == (record == nil) {
				continue
			}
		}
		t.sum -= weight(sealed)
		t.note(name, w.key, record)
		if record == nil {
			err = bucket.Delete(w.key)
		} else {
			value := seal(name, w.key, record)
			t.sum += weight(value)
			err = bucket.Put(w.key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clear deletes a bucket with all of its records.
func (t *txn) clear(name []byte) error {
	in, _ := bucketIn(name)
	bucket := t.Bucket(in)
	if bucket == nil {
		return nil
	}
	if err := bucket.ForEach(func(_, value []byte) error {
		t.sum -= weight(value)
		return nil
	}); err != nil {
		return err
	}
	return t.DeleteBucket(in)
}

// reader reads sealed records; it implements source.
type reader struct{ *bolt.Tx }

func (r reader) get(name, key []byte) ([]byte, error) {
	in, packed := bucketIn(name)
	if packed {
		return walk(r.Tx, name).find(key)
	}
	bucket := r.Bucket(in)
	if bucket == nil {
		return nil, nil
	}
	value := bucket.Get(key)
	if value == nil {
		return nil, nil
	}
	return unseal(name, key, value)
}

func (r reader) each(name, prefix []byte, fn func(key, record []byte) error) error {
	in, packed := bucketIn(name)
	bucket := r.Bucket(in)
	switch {
	case bucket == nil:
		return nil
	case packed:
		return eachPacked(bucket, name, prefix, fn)
	}
	return eachOf(bucket, name, prefix, fn)
}
