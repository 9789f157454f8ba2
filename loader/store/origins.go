// This file stores what origins say that are kept, beside the command line: lists that are kept
// elsewhere and followed, of which nobody on this host has another copy.

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// bucketOrigins has the OriginState of each followed origin, in JSON.
var bucketOrigins = []byte("origins.2")

// OriginState is what is known of a followed origin beside its claims.
type OriginState struct {
	Mark string    `json:"mark,omitempty"` // of what the claims are: an ETag or a serial number
	Sum  string    `json:"sum,omitempty"`  // of the claims, hexadecimal
	At   time.Time `json:"at"`             // when the origin was last seen to say so

	// Of a list of a fleet only.
	Fleet     string       `json:"fleet,omitempty"`    // which fleet it is, whatever it is called
	Manifest  []byte       `json:"manifest,omitempty"` // of the list
	Suspended []Suspension `json:"suspended,omitempty"`
	Limits    []Limit      `json:"limits,omitempty"`
}

// Differs reports whether s is of something else than b.
func (s OriginState) Differs(b OriginState) bool {
	return s.Mark != b.Mark || s.Sum != b.Sum || s.Fleet != b.Fleet || !bytes.Equal(s.Manifest, b.Manifest)
}

// Followed is a change of what a followed origin says, or of what is enrolled. No rollback takes it
// back: that is for what an operator of this host did.
type Followed struct {
	Origin policy.Origin // for which policy.Origin.Followed holds, or policy.OriginEnrol
	Delete []netip.Prefix
	Put    []policy.Claim // after Delete; one a prefix, the last wins
	State  OriginState    // of OriginEnrol there is none
}

// claimsOf names the bucket with the claims of a kept origin.
func claimsOf(origin policy.Origin) []byte {
	if origin == policy.OriginCLI {
		return bucketClaims
	}
	return []byte(string(bucketClaims) + "/" + string(origin))
}

// originOf is the reverse of claimsOf; false is the name of another bucket.
func originOf(bucket string) (origin policy.Origin, found bool) {
	rest, found := strings.CutPrefix(bucket, string(bucketClaims))
	switch {
	case found && rest == "":
		return policy.OriginCLI, true
	case found && rest[0] == '/':
		return policy.Origin(rest[1:]), true
	}
	return "", false
}

// sealedIn are the buckets of a database that are kept twice.
func sealedIn(tx *bolt.Tx) (names [][]byte) {
	names = slices.Clone(sealed)
	for _, origin := range originsIn(tx) {
		if origin != policy.OriginCLI {
			names = append(names, claimsOf(origin))
		}
	}
	return names
}

// originsIn are the origins that have a bucket of claims, sorted.
func originsIn(tx *bolt.Tx) (origins []policy.Origin) {
	packed, _ := bucketIn(bucketClaims)
	cursor := tx.Cursor()
	for name, _ := cursor.Seek(packed); bytes.HasPrefix(name, packed); name, _ = cursor.Next() {
		if origin, found := originOf(string(bucketClaims) + string(name[len(packed):])); found {
			origins = append(origins, origin)
		}
	}
	return origins
}

// encodeFollow returns the batches of change.Hold and change.Follow, which have no undo.
func encodeFollow(change Change) (batches []batch, err error) {
	held, err := encodeSuspensions(Change{Suspend: change.Hold})
	if err != nil {
		return nil, err
	}
	batches = append(batches, batch{bucket: bucketSuspended, writes: lastOfEach(held)})
	for _, f := range change.Follow {
		if !f.Origin.Followed() && f.Origin != policy.OriginEnrol {
			return nil, fmt.Errorf("follow %s: it is not an origin that is followed", f.Origin)
		}
		writes, err := encodeClaims(f.Origin, f.Delete, f.Put, change.created())
		if err != nil {
			return nil, err
		}
		batches = append(batches, batch{bucket: claimsOf(f.Origin), writes: lastOfEach(writes)})
		if f.Origin == policy.OriginEnrol {
			continue // it has no state: nobody keeps it elsewhere
		}
		state, err := json.Marshal(f.State)
		if err != nil {
			return nil, err
		}
		batches = append(batches, batch{bucket: bucketOrigins, writes: []write{{[]byte(f.Origin), state}}})
	}
	return batches, nil
}

// follow makes change.Forget, then batches of encodeFollow.
func follow(t *txn, change Change, batches []batch) error {
	for _, origin := range change.Forget {
		if !origin.Followed() {
			return fmt.Errorf("forget %s: it is not an origin that is followed", origin)
		}
		if err := t.clear(claimsOf(origin)); err != nil {
			return err
		}
		if t.frame != nil {
			t.frame.noteEmpty(claimsOf(origin))
		}
		if err := t.put(bucketOrigins, []byte(origin), nil); err != nil {
			return err
		}
	}
	for _, b := range batches {
		var keep func(write, []byte) ([]byte, error)
		if _, claims := originOf(string(b.bucket)); claims {
			keep = func(w write, old []byte) ([]byte, error) {
				copyCreated(w.record, old)
				return w.record, nil
			}
		}
		if err := t.change(b.bucket, b.writes, keep); err != nil {
			return err
		}
	}
	return nil
}

// KeptOrigins returns the kept origins that have claims or a state, which is zero where an origin
// has none. Errors are those of Claims.
func (s *Store) KeptOrigins() (map[policy.Origin]OriginState, error) {
	origins := map[policy.Origin]OriginState{}
	s.swapping.RLock()
	if s.db == nil {
		for _, c := range s.memory.Claims {
			if c.Origin.Kept() {
				origins[c.Origin] = OriginState{}
			}
		}
	}
	s.swapping.RUnlock()
	err := s.view(func(tx *bolt.Tx) error {
		for _, origin := range originsIn(tx) {
			origins[origin] = OriginState{}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return origins, s.read(func(from source) error {
		return from.each(bucketOrigins, nil, func(key, record []byte) error {
			state, err := decodeOrigin(record)
			if err != nil {
				return fmt.Errorf("state of origin %s: %w", key, err)
			}
			origins[policy.Origin(key)] = state
			return nil
		})
	})
}

// decodeOrigin refuses what it does not know: that may take a grant away.
func decodeOrigin(record []byte) (state OriginState, err error) {
	in := json.NewDecoder(bytes.NewReader(record))
	in.DisallowUnknownFields()
	if err := in.Decode(&state); err != nil {
		return state, fmt.Errorf("%w (%w)", ErrNewer, err)
	}
	return state, nil
}

// KeptClaims returns the claims of all kept origins, those of the command line first. Errors are
// those of Claims.
func (s *Store) KeptClaims() (claims []policy.Claim, err error) {
	origins, err := s.KeptOrigins()
	if err != nil {
		return nil, err
	}
	for _, origin := range slices.SortedFunc(maps.Keys(origins), policy.CompareStrength) {
		more, err := s.Claims(origin)
		if err != nil {
			return nil, err
		}
		claims = append(claims, more...)
	}
	return claims, nil
}
