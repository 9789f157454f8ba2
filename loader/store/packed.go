// This file packs records into chunks, in the buckets that may have a million. A record of its own
// costs bbolt more to find and to split pages for than the record is long; and of neighbours most
// bytes are the same.

package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// chunkSize is the most that a chunk of more than one record takes, in bytes. Two fit on a page of
// bbolt: the change of one record writes one page.
const chunkSize = 1900

// bucketIn returns the bucket of the database for the records of name, and whether they are packed.
// The list and its changes keep to name, which a release reads that did not pack them.
func bucketIn(name []byte) (bucket []byte, packed bool) {
	for _, kind := range [][]byte{bucketClaims, bucketUndo} {
		if origin, found := bytes.CutPrefix(name, kind); found && (len(origin) == 0 || origin[0] == '/') {
			return append(append(bytes.TrimSuffix(bytes.Clone(kind), []byte("2")), '3'), origin...), true
		}
	}
	return name, false
}

// A chunk is at the key of its first record. It has of each record, in the order of keys: how many
// bytes the key shares with the key before it, how many follow, those; and likewise of the record.
// Numbers are as of binary.AppendUvarint.

// packer makes chunks of records that come in the order of their keys.
type packer struct {
	limit  int // of a chunk, in bytes
	chunks []write
	total  int
	last   write
}

func (p *packer) add(key, record []byte) {
	n := len(p.chunks) - 1
	if n >= 0 {
		chunk := appendRecord(p.chunks[n].record, p.last, write{key, record})
		if len(chunk) <= p.limit {
			p.total += len(chunk) - len(p.chunks[n].record)
			p.chunks[n].record, p.last = chunk, write{key, record}
			return
		}
		p.chunks[n].record = bytes.Clone(p.chunks[n].record) // without the room to grow
	}
	chunk := appendRecord(make([]byte, 0, p.limit), write{}, write{key, record})
	p.total += len(chunk)
	p.chunks, p.last = append(p.chunks, write{key, chunk}), write{key, record}
}

func appendRecord(chunk []byte, last, next write) []byte {
	chunk = appendShared(chunk, last.key, next.key)
	return appendShared(chunk, last.record, next.record)
}

func appendShared(chunk, last, next []byte) []byte {
	shared := 0
	for shared < min(len(last), len(next)) && last[shared] == next[shared] {
		shared++
	}
	chunk = binary.AppendUvarint(binary.AppendUvarint(chunk, uint64(shared)), uint64(len(next)-shared))
	return append(chunk, next[shared:]...)
}

// pack returns the chunks of records. A few get the same size: a full one and a short one would be
// split again by the next record.
func pack(records []write) []write {
	p := packer{limit: chunkSize}
	for _, r := range records {
		p.add(r.key, r.record)
	}
	if n := len(p.chunks); n > 1 && n < 8 {
		again := packer{limit: p.total/n + chunkSize/16}
		for _, r := range records {
			again.add(r.key, r.record)
		}
		return again.chunks
	}
	return p.chunks
}

// unpack appends the records of a chunk to records. They do not refer to it.
func unpack(records []write, chunk []byte) ([]write, error) {
	var last write
	arena := make([]byte, 0, 4*len(chunk))
	var err error
	for len(chunk) > 0 {
		var next write
		if next.key, arena, chunk, err = cutShared(arena, last.key, chunk); err == nil {
			next.record, arena, chunk, err = cutShared(arena, last.record, chunk)
		}
		if err != nil {
			return records, err
		}
		records, last = append(records, next), next
	}
	return records, nil
}

// cutShared cuts what appendShared wrote off the front of chunk. The result is a part of arena.
func cutShared(arena, last, chunk []byte) (next, grown, rest []byte, err error) {
	shared, n := binary.Uvarint(chunk)
	size, m := binary.Uvarint(chunk[max(n, 0):])
	if n <= 0 || m <= 0 || shared > uint64(len(last)) || size > uint64(len(chunk)-n-m) {
		return nil, arena, nil, errShort
	}
	begin, end := len(arena), n+m+int(size)
	arena = append(append(arena, last[:shared]...), chunk[n+m:end]...)
	return arena[begin:len(arena):len(arena)], arena, chunk[end:], nil
}

// chunkOf is a chunk of an open bucket: the one that has key, or would have it.
type chunkOf struct {
	at, value []byte // nil where the bucket is empty
	limit     []byte // keys from here on are of the next chunk; nil where there is none
}

func findChunk(bucket *bolt.Bucket, key []byte) (c chunkOf) {
	cursor := bucket.Cursor()
	at, value := cursor.Seek(key)
	switch {
	case at == nil:
		c.at, c.value = cursor.Last()
		return c
	case bytes.Equal(at, key):
		c.at, c.value = at, value
		c.limit, _ = cursor.Next()
		return c
	}
	c.limit = at
	before := bucket.Cursor()
	if first, value := before.First(); bytes.Compare(key, first) < 0 { // key comes before all
		c.at, c.value = first, value
		c.limit, _ = before.Next()
		return c
	}
	for c.at == nil { // Prev stops at each leaf that this transaction emptied
		c.at, c.value = cursor.Prev()
	}
	return c
}

// walker finds records of a packed bucket. To ask in the order of keys reads each chunk once.
type walker struct {
	name    []byte
	bucket  *bolt.Bucket // nil: empty
	chunk   chunkOf
	records []write
	opened  bool
}

func walk(tx *bolt.Tx, name []byte) *walker {
	in, _ := bucketIn(name)
	return &walker{name: name, bucket: tx.Bucket(in)}
}

// find returns the record at key, nil where there is none. The record belongs to the caller.
func (w *walker) find(key []byte) (record []byte, err error) {
	if w.bucket == nil {
		return nil, nil
	}
	if c := w.chunk; !w.opened || bytes.Compare(key, c.at) < 0 || c.limit != nil && bytes.Compare(key, c.limit) >= 0 {
		w.chunk, w.opened = findChunk(w.bucket, key), true
		if w.records, err = w.chunk.open(w.name, w.records[:0]); err != nil {
			return nil, err
		}
	}
	i, found := slices.BinarySearchFunc(w.records, key, func(r write, key []byte) int { return bytes.Compare(r.key, key) })
	if !found {
		return nil, nil
	}
	return w.records[i].record, nil
}

// open appends the records of the chunk to records.
func (c chunkOf) open(name []byte, records []write) ([]write, error) {
	if c.at == nil {
		return records, nil
	}
	chunk, err := unseal(name, c.at, c.value)
	if err == nil {
		records, err = unpack(records, chunk)
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %x: %w", c.at, err)
	}
	return records, nil
}

// eachPacked calls fn for the records of an open packed bucket whose keys begin with prefix.
func eachPacked(bucket *bolt.Bucket, name, prefix []byte, fn func(key, record []byte) error) error {
	var records []write
	c, cursor := findChunk(bucket, prefix), bucket.Cursor()
	for cursor.Seek(c.at); c.at != nil; c.at, c.value = cursor.Next() {
		var err error
		if records, err = c.open(name, records[:0]); err != nil {
			return err
		}
		for _, r := range records {
			switch order := bytes.Compare(r.key, prefix); {
			case bytes.HasPrefix(r.key, prefix):
				if err := fn(r.key, r.record); err != nil {
					return err
				}
			case order > 0:
				return nil
			}
		}
	}
	return nil
}

// changePacked is change for a bucket whose records are packed.
func (t *txn) changePacked(bucket *bolt.Bucket, name []byte, writes []write, decide func(w write, old []byte) ([]byte, error)) error {
	var records, merged []write
	for len(writes) > 0 {
		c := findChunk(bucket, writes[0].key)
		var err error
		if records, err = c.open(name, records[:0]); err != nil {
			return err
		}
		n := len(writes) // that belong to this chunk
		if c.limit != nil {
			n, _ = slices.BinarySearchFunc(writes, c.limit, func(w write, limit []byte) int { return bytes.Compare(w.key, limit) })
		}
		if n == 0 {
			return fmt.Errorf("chunk %x is not where key %x belongs", c.at, writes[0].key)
		}
		rest, changed := records, false
		merged = slices.Grow(merged[:0], n+len(records))
		for _, w := range writes[:n] {
			for len(rest) > 0 && bytes.Compare(rest[0].key, w.key) < 0 {
				merged, rest = append(merged, rest[0]), rest[1:]
			}
			var old []byte
			if len(rest) > 0 && bytes.Equal(rest[0].key, w.key) {
				old, rest = rest[0].record, rest[1:]
			}
			record := w.record
			if decide != nil {
				if record, err = decide(w, old); err != nil {
					return err
				}
			}
			if record != nil {
				merged = append(merged, write{w.key, record})
			}
			if !bytes.Equal(old, record) || (old == nil) != (record == nil) {
				changed = true
				t.note(name, w.key, record)
			}
		}
		writes = writes[n:]
		if !changed {
			continue
		}
		if err := t.putChunk(bucket, name, c, pack(append(merged, rest...))); err != nil {
			return err
		}
	}
	return nil
}

// putChunk puts chunks in the place of one.
func (t *txn) putChunk(bucket *bolt.Bucket, name []byte, c chunkOf, chunks []write) error {
	t.sum -= weight(c.value)
	if c.at != nil && (len(chunks) == 0 || !bytes.Equal(chunks[0].key, c.at)) {
		if err := bucket.Delete(bytes.Clone(c.at)); err != nil {
			return err
		}
	}
	for _, chunk := range chunks {
		value := seal(name, chunk.key, chunk.record)
		t.sum += weight(value)
		if err := bucket.Put(chunk.key, value); err != nil {
			return err
		}
	}
	return nil
}
