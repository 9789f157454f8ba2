package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// Promise: packed records are what a map of them would be, after any changes, and a database of
// them passes the check of a start.
func TestPackedRecords(t *testing.T) {
	genKey := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("c%03d", rapid.IntRange(0, 400).Draw(t, "key")) })
	genRecord := rapid.Custom(func(t *rapid.T) []byte {
		size := rapid.SampledFrom([]int{0, 1, 40, 700, 5000}).Draw(t, "size")
		return bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, size)
	})
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open(t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		mustApply(t, s, numbered(1)) // a database that has changes, and an undo
		if err := s.update(func(tx *bolt.Tx) error {
			t, err := begun(tx)
			return errors.Join(err, t.clear(bucketUndo), t.finish())
		}); err != nil {
			rt.Fatal(err)
		}
		want := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			var writes []write
			for _, key := range rapid.SliceOfN(genKey, 1, rapid.SampledFrom([]int{1, 3, 300}).Draw(rt, "many")).Draw(rt, "keys") {
				if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
					writes = append(writes, write{key: []byte(key)})
				} else {
					writes = append(writes, write{[]byte(key), genRecord.Draw(rt, "record")})
				}
			}
			writes = lastOfEach(writes)
			parts := [][]write{writes}
			if rapid.Bool().Draw(rt, "one by one") { // deletes first: they may empty a page before the others come
				deletes := slices.DeleteFunc(slices.Clone(writes), func(w write) bool { return w.record != nil })
				parts = [][]write{deletes}
				for _, w := range writes {
					if w.record != nil {
						parts = append(parts, []write{w})
					}
				}
			}
			if err := s.update(func(tx *bolt.Tx) error {
				t, err := begun(tx)
				for _, part := range parts {
					if err != nil {
						break
					}
					err = t.change(bucketUndo, part, func(w write, old []byte) ([]byte, error) {
						if was, found := want[string(w.key)]; found != (old != nil) || was != string(old) {
							rt.Errorf("before the write of %s: %x, want %x", w.key, old, was)
						}
						return w.record, nil
					})
				}
				return errors.Join(err, t.finish())
			}); err != nil {
				rt.Fatal(err)
			}
			for _, w := range writes {
				if w.record == nil {
					delete(want, string(w.key))
				} else {
					want[string(w.key)] = string(w.record)
				}
			}
		}
		prefix := rapid.SampledFrom([]string{"", "c", "c1", "c20", "c999", "d"}).Draw(rt, "prefix")
		var keys []string
		err = s.view(func(tx *bolt.Tx) error {
			r := reader{tx}
			for key, record := range want {
				if got, err := r.get(bucketUndo, []byte(key)); err != nil || string(got) != record {
					rt.Errorf("%s is %x, %v; want %x", key, got, err, record)
				}
			}
			if got, err := r.get(bucketUndo, []byte("c9")); got != nil || err != nil {
				rt.Errorf("what was never put is %x, %v", got, err)
			}
			return r.each(bucketUndo, []byte(prefix), func(key, record []byte) error {
				keys = append(keys, string(key))
				if want[string(key)] != string(record) {
					rt.Errorf("%s is walked as %x", key, record)
				}
				return nil
			})
		})
		all := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
		if diff := cmp.Diff(all, keys, cmpopts.EquateEmpty()); err != nil || diff != "" {
			rt.Errorf("keys of %q (-want +got): %v\n%s", prefix, err, diff)
		}
		if err := verifyDB(s.db); err != nil {
			rt.Error(err)
		}
	})
}

// A chunk that was cut off, or says what cannot be, is an error and no record.
func TestTornChunk(t *testing.T) {
	chunks := pack([]write{{[]byte("ab"), []byte("record")}, {[]byte("ac"), []byte("records")}})
	if len(chunks) != 1 {
		t.Fatalf("%d chunks", len(chunks))
	}
	chunk := chunks[0].record
	whole := 0
	for n := range chunk {
		records, err := unpack(nil, chunk[:n])
		if err == nil {
			whole++
			continue
		}
		if !errors.Is(err, errShort) || len(records) > 1 {
			t.Errorf("the first %d bytes: %q, %v", n, records, err)
		}
	}
	if whole != 2 { // nothing, and the first record
		t.Errorf("%d parts were read as whole", whole)
	}
	if _, err := unpack(nil, []byte{1, 1, 'a'}); !errors.Is(err, errShort) {
		t.Errorf("a key that shares with nothing: %v", err)
	}
}

// Promise: a database with a record for each claim, as it was before they were packed, is taken
// over whole, the undo too; the release that wrote it then refuses it by name.
func TestUnpackedDatabase(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for n := uint64(1); n < 400; n++ {
		mustApply(t, s, numbered(n))
	}
	before := dump(t, s, sealed...)
	err := s.update(func(tx *bolt.Tx) error {
		t, err := begun(tx)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{bucketClaims, bucketUndo} {
			var all []write
			err := reader{tx}.each(name, nil, func(key, record []byte) error {
				all = append(all, write{key, record})
				return nil
			})
			if err := errors.Join(err, t.clear(name)); err != nil {
				return err
			}
			_ = tx.DeleteBucket(name) // the warning
			bucket, err := tx.CreateBucket(name)
			if err != nil {
				return err
			}
			for _, w := range all {
				value := seal(name, w.key, w.record)
				t.sum += weight(value)
				if err := bucket.Put(w.key, value); err != nil {
					return err
				}
			}
		}
		return t.finish()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if other, err := OpenReadOnly(dir); err == nil || !strings.Contains(err.Error(), "systemctl start xdpallow") {
		t.Errorf("opened for reading: %v, %v", other, err)
	}
	s, err = Begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if troubles, err := s.OpenDatabase(false); err != nil || len(troubles) > 0 {
		t.Fatalf("taken over: %v, %v", troubles, err)
	}
	after := dump(t, s, sealed...)
	sum := fmt.Sprintf("%s %x", bucketFacts, keySum)
	delete(before, sum)
	delete(after, sum)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("taken over (-want +got):\n%s", diff)
	}
	err = s.db.View(func(tx *bolt.Tx) error { // as that release reads
		return eachOf(tx.Bucket(bucketClaims), bucketClaims, nil, func(_, _ []byte) error { return nil })
	})
	if !errors.Is(err, ErrNewer) {
		t.Errorf("an older release reads: %v", err)
	}
	mustApply(t, s, numbered(400))
	undo, found, err := s.LoadUndo()
	if want := []netip.Prefix{numbered(400).Put[0].Prefix, numbered(400).Put[1].Prefix}; err != nil || !found || !slices.Equal(undo.Delete, want) {
		t.Errorf("undo is %+v, %v", undo, err)
	}
}
