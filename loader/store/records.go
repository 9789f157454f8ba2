// This file reads records from the database or, where none can be used, from memory, as the list has
// them.

package store

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// source is where records are read. What it returns is valid until read returns.
type source interface {
	get(bucket, key []byte) ([]byte, error)
	// each calls fn by key for the keys that begin with prefix.
	each(bucket, prefix []byte, fn func(key, record []byte) error) error
}

// records are by bucket and key; they implement source.
type records map[string]map[string][]byte

func (r records) get(bucket, key []byte) ([]byte, error) { return r[string(bucket)][string(key)], nil }

func (r records) each(bucket, prefix []byte, fn func(key, record []byte) error) error {
	all := r[string(bucket)]
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(key, string(prefix)) {
			continue
		}
		if err := fn([]byte(key), all[key]); err != nil {
			return err
		}
	}
	return nil
}

// put sets a record; nil takes it away.
func (r records) put(bucket, key string, record []byte) {
	if record == nil {
		delete(r[bucket], key)
		return
	}
	if r[bucket] == nil {
		r[bucket] = map[string][]byte{}
	}
	r[bucket][key] = record
}

// eachOf calls fn for the records of an open bucket.
func eachOf(bucket *bolt.Bucket, name, prefix []byte, fn func(key, record []byte) error) error {
	cursor := bucket.Cursor()
	for key, value := cursor.Seek(prefix); bytes.HasPrefix(key, prefix) && key != nil; key, value = cursor.Next() {
		record, err := unseal(name, key, value)
		if err != nil {
			return err
		}
		if err := fn(key, record); err != nil {
			return err
		}
	}
	return nil
}

// read runs fn on the database, or on memory where there is none.
func (s *Store) read(fn func(source) error) error {
	s.swapping.RLock()
	defer s.swapping.RUnlock()
	if s.db == nil {
		return fn(s.memory.records)
	}
	return s.viewLocked(func(tx *bolt.Tx) error { return fn(reader{tx}) })
}
