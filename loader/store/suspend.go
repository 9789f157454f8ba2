// This file keeps what is said about entries and owners whatever their origin:
// who is suspended, and which owner may open how many connections.

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	bucketSuspended = []byte("suspended") // key of a subject: record
	bucketLimits    = []byte("limits")    // owner: record
)

// Subject is whom a suspension is about: either a prefix or an owner.
type Subject struct {
	Prefix netip.Prefix // canonical
	Owner  string
}

func (s Subject) String() string {
	if s.Owner != "" {
		return s.Owner
	}
	return s.Prefix.String()
}

// Suspension stops a subject, whoever lists it.
type Suspension struct {
	Subject
	Reason string // as a note
	Time   time.Time
	UID    uint32
}

// Limit is how many openings an owner has.
type Limit struct {
	Owner     string
	PerSecond float64 // over 0
	Burst     uint32
}

// The form of a suspension, numbers big endian: version, time as in a claim, uid
// (4 bytes), reason; of a limit: version, the bits of PerSecond, burst (4 bytes).
const (
	suspensionVersion = 1
	suspensionHead    = 1 + timeSize + 4
	limitVersion      = 1
	limitSize         = 1 + 8 + 4
)

// key is that of a claim for a prefix, and for an owner the name, which begins
// with no family.
func (s Subject) key() ([]byte, error) {
	switch {
	case s.Owner == "":
		return appendKey(nil, s.Prefix), checkPrefix(s.Prefix)
	case s.Prefix.IsValid():
		return nil, fmt.Errorf("%s and %s are two subjects", s.Owner, s.Prefix)
	}
	return []byte(s.Owner), policy.ParseName("owner", s.Owner)
}

func parseSubject(key []byte) (s Subject, err error) {
	if len(key) > 0 && (key[0] == family4 || key[0] == family6) {
		s.Prefix, err = parseKey(key)
		return s, err
	}
	s.Owner = string(key)
	return s, policy.ParseName("owner", s.Owner)
}

func encodeSuspensions(change Change) (writes []write, err error) {
	for _, subject := range change.Resume {
		key, err := subject.key()
		if err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
		writes = append(writes, write{key: key})
	}
	for _, s := range change.Suspend {
		key, err := s.key()
		if err == nil {
			err = policy.ParseNote(s.Reason)
		}
		if err != nil {
			return nil, fmt.Errorf("suspend: %w", err)
		}
		writes = append(writes, write{key, encodeSuspension(s)})
	}
	return writes, nil
}

func encodeSuspension(s Suspension) []byte {
	record := appendTime([]byte{suspensionVersion}, s.Time)
	record = binary.BigEndian.AppendUint32(record, s.UID)
	return append(record, s.Reason...)
}

func decodeSuspension(key, record []byte) (s Suspension, err error) {
	if s.Subject, err = parseSubject(key); err != nil {
		return s, err
	}
	if err := checkVersion(record, suspensionVersion, s); err != nil {
		return s, err
	}
	if len(record) < suspensionHead {
		return s, errShort
	}
	s.Time = parseTime(record[1:])
	s.UID = binary.BigEndian.Uint32(record[1+timeSize:])
	s.Reason = string(record[suspensionHead:])
	return s, nil
}

func encodeLimits(change Change) (writes []write, err error) {
	for _, owner := range change.Unlimit {
		if err := policy.ParseName("owner", owner); err != nil {
			return nil, fmt.Errorf("unlimit: %w", err)
		}
		writes = append(writes, write{key: []byte(owner)})
	}
	for _, l := range change.Limit {
		if err := policy.ParseName("owner", l.Owner); err != nil {
			return nil, fmt.Errorf("limit: %w", err)
		}
		if !isRate(l.PerSecond) {
			return nil, fmt.Errorf("limit %s: %v a second is no rate", l.Owner, l.PerSecond)
		}
		writes = append(writes, write{[]byte(l.Owner), encodeLimit(l)})
	}
	return writes, nil
}

func isRate(perSecond float64) bool { return perSecond > 0 && !math.IsInf(perSecond, 1) }

func encodeLimit(l Limit) []byte {
	record := binary.BigEndian.AppendUint64([]byte{limitVersion}, math.Float64bits(l.PerSecond))
	return binary.BigEndian.AppendUint32(record, l.Burst)
}

func decodeLimit(key, record []byte) (Limit, error) {
	l := Limit{Owner: string(key)}
	if err := checkVersion(record, limitVersion, l.Owner); err != nil {
		return l, err
	}
	if len(record) != limitSize {
		return l, errShort
	}
	l.PerSecond = math.Float64frombits(binary.BigEndian.Uint64(record[1:]))
	l.Burst = binary.BigEndian.Uint32(record[9:])
	if !isRate(l.PerSecond) {
		return l, errors.New("record holds no rate")
	}
	return l, policy.ParseName("owner", l.Owner)
}

// checkVersion refuses the record of a newer release, and none at all.
func checkVersion(record []byte, version byte, of any) error {
	if len(record) == 0 {
		return errShort
	}
	if record[0] != version {
		return fmt.Errorf("record of %v has version %d: %w", of, record[0], ErrNewer)
	}
	return nil
}

// Suspensions returns who is suspended: prefixes by policy.ComparePrefix, then
// owners by name.
func (s *Store) Suspensions() ([]Suspension, error) {
	return collect(s, bucketSuspended, decodeSuspension)
}

// Limits returns the limits by owner.
func (s *Store) Limits() ([]Limit, error) { return collect(s, bucketLimits, decodeLimit) }

// collect decodes a bucket, in the order of its keys.
func collect[T any](s *Store, name []byte, decode func(key, record []byte) (T, error)) (all []T, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(name)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(key, record []byte) error {
			one, err := decode(key, record)
			all = append(all, one)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
