// This file reads the whole state from the list and the changes after it, without the database. So
// after a boot a host enforces its last good policy before the database is opened, in whatever
// condition that is.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// State is everything that is stored twice, as one of the two files has it. Generation 0 means that
// there is no state.
type State struct {
	Effective
	Serial  uint64 // of the last change; 0 where a release before 0.2 wrote it
	records records
}

// LoadState returns the list in the state directory dir with the changes after it. It needs no open
// Store. Errors are those of LoadEffective: with a *TornError the state is that of the list before,
// with the changes after that one. That is the same state, unless what is declared has changed.
func LoadState(dir string) (State, error) {
	state, err := loadEither(dir, nil)
	var torn *TornError
	if err != nil && !errors.As(err, &torn) {
		return State{}, err
	}
	if state.records == nil { // no list: changes alone are no policy
		return State{}, err
	}
	frames, _, journalErr := loadJournal(dir)
	if journalErr != nil {
		return state, errors.Join(err, journalErr)
	}
	if applyErr := state.apply(following(frames, state.Serial)); applyErr != nil {
		return state, errors.Join(err, applyErr)
	}
	if torn != nil {
		torn.Generation = state.Generation
	}
	return state, err
}

// apply makes the changes in frames.
func (state *State) apply(frames []frame) error {
	if len(frames) == 0 {
		return nil
	}
	claims := map[policy.ClaimKey]*policy.Claim{} // nil: taken away
	emptied := map[policy.Origin]bool{}           // of all that it had before
	decoders := map[policy.Origin]*decoder{}
	for _, f := range frames {
		err := f.each(func(bucket string, key, record []byte) error {
			origin, isClaim := originOf(bucket)
			switch {
			case isClaim && key == nil:
				emptied[origin] = true
				maps.DeleteFunc(claims, func(k policy.ClaimKey, _ *policy.Claim) bool { return k.Origin == origin })
				return nil
			case key == nil:
				delete(state.records, bucket)
				return nil
			case !isClaim:
				state.records.put(bucket, string(key), record)
				return nil
			case record == nil:
				prefix, err := parseKey(key)
				claims[policy.ClaimKey{Origin: origin, Prefix: prefix}] = nil
				return err
			}
			if decoders[origin] == nil {
				decoders[origin] = newDecoder(origin)
			}
			c, _, err := decoders[origin].decode(key, record)
			claims[policy.ClaimKey{Origin: origin, Prefix: c.Prefix}] = &c
			return err
		})
		if err != nil {
			return err
		}
		state.Serial = f.serial
	}
	if generation, err := readNumber(state.records, keyGeneration); err == nil && generation > 0 {
		state.Generation = generation
	}
	state.merge(claims, emptied)
	return nil
}

// merge replaces claims of kept origins by claims, nil of which removes one, after those of
// emptied origins are gone.
func (state *State) merge(claims map[policy.ClaimKey]*policy.Claim, emptied map[policy.Origin]bool) {
	merged := state.Claims[:0]
	for _, c := range state.Claims {
		key := policy.ClaimKey{Origin: c.Origin, Prefix: c.Prefix}
		now, changed := claims[key]
		if !changed {
			if !emptied[c.Origin] {
				merged = append(merged, c)
			}
			continue
		}
		delete(claims, key)
		if now != nil {
			merged = append(merged, now)
		}
	}
	var added []*policy.Claim
	for _, c := range claims {
		if c != nil {
			added = append(added, c)
		}
	}
	slices.SortFunc(added, func(a, b *policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	state.Claims = append(merged, added...)
}

// State returns the state as the database has it. Errors are those of Claims.
func (s *Store) State() (state State, err error) {
	if !s.isOpen() {
		return s.memory, nil
	}
	claims, err := s.KeptClaims()
	if err != nil {
		return State{}, err
	}
	state.records = records{}
	err = s.read(func(from source) (err error) {
		if state.Effective, err = readDeclared(from); err != nil {
			return err
		}
		if state.Serial, err = readNumber(from, keySerial); err != nil {
			return err
		}
		generation, err := readNumber(from, keyGeneration)
		if err != nil {
			return err
		}
		state.Generation = max(generation, state.Generation)
		for _, bucket := range listed {
			if err := from.each(bucket, nil, func(key, record []byte) error {
				state.records.put(string(bucket), string(key), bytes.Clone(record))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range claims {
		state.Claims = append(state.Claims, &claims[i])
	}
	return state, err
}

// fill replaces everything in the database that is stored twice by state.
func (state State) fill(t *txn) error {
	for _, bucket := range sealedIn(t.Tx) {
		if err := t.clear(bucket); err != nil {
			return err
		}
	}
	t.sum = 0
	kept := map[policy.Origin][]write{}
	for _, c := range state.Claims {
		if !c.Origin.Kept() {
			continue
		}
		record, err := encode(nil, *c, time.Now())
		if err != nil {
			return err
		}
		kept[c.Origin] = append(kept[c.Origin], write{appendKey(nil, c.Prefix), record})
	}
	for _, origin := range slices.Sorted(maps.Keys(kept)) {
		if err := t.change(claimsOf(origin), lastOfEach(kept[origin]), nil); err != nil {
			return err
		}
	}
	for _, name := range listed {
		err := state.records.each(name, nil, func(key, record []byte) error { return t.put(name, key, record) })
		if err != nil {
			return err
		}
	}
	if err := state.records.each(bucketUnlogged, nil, func(key, line []byte) error { return relog(t, key, line) }); err != nil {
		return err
	}
	numbers := map[string]uint64{string(keySerial): state.Serial, string(keyGeneration): state.Generation}
	for key, n := range numbers {
		if n == 0 {
			continue
		}
		if err := t.put(bucketFacts, []byte(key), binary.BigEndian.AppendUint64(nil, n)); err != nil {
			return err
		}
	}
	if len(state.Services) > 0 {
		if err := putDeclared(t, state.Effective); err != nil {
			return err
		}
	}
	if err := warn(t.Tx); err != nil {
		return err
	}
	return t.finish()
}

// redo makes the changes of frames in a database that does not have them yet. It writes each bucket
// once: record by record would take twenty times as long as the changes themselves did.
func redo(t *txn, frames []frame) error {
	writes := map[string][]write{}
	for _, f := range frames {
		err := f.each(func(bucket string, key, record []byte) error {
			switch {
			case bucket == string(bucketUnlogged):
				return relog(t, key, record)
			case key == nil:
				delete(writes, bucket)
				return t.clear([]byte(bucket))
			}
			writes[bucket] = append(writes[bucket], write{key, record})
			return nil
		})
		if err != nil {
			return err
		}
		writes[string(bucketFacts)] = append(writes[string(bucketFacts)], write{keySerial, binary.BigEndian.AppendUint64(nil, f.serial)})
	}
	for _, bucket := range slices.Sorted(maps.Keys(writes)) {
		if err := t.change([]byte(bucket), lastOfEach(writes[bucket]), nil); err != nil {
			return err
		}
	}
	return t.finish()
}

// relog queues a line for the change log, which may not have it.
func relog(t *txn, key, line []byte) error {
	bucket, err := t.CreateBucketIfNotExists(bucketUnlogged)
	if err != nil {
		return err
	}
	if len(key) != 8 {
		return fmt.Errorf("key %x is no sequence number", key)
	}
	if err := bucket.SetSequence(max(bucket.Sequence(), binary.BigEndian.Uint64(key))); err != nil {
		return err
	}
	return bucket.Put(key, line)
}
