// This file stores what overrides every origin: who is suspended, and how many connections an owner may
// open.

package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	bucketSuspended = []byte("suspended.2") // key of a subject: record
	bucketLimits    = []byte("limits.2")    // owner: record
)

// Suspension stops a subject, whichever origin lists it.
type Suspension struct {
	policy.Subject
	Reason string // as a note
	Time   time.Time
	UID    uint32

	// Of an owner, see policy.Hold. Unnoted means that what is held is not known, because the
	// first releases did not store it.
	Unnoted bool
	Nested  bool
	Held    []netip.Prefix // sorted by policy.ComparePrefix
	Stays   []policy.Stay  // likewise
}

// Limit bounds how many connections an owner opens.
type Limit struct {
	Owner     string  `json:"owner"`
	PerSecond float64 `json:"per_second"` // over 0
	Burst     uint32  `json:"burst"`
}

// MarshalJSON writes key and record of the database, whose version tells an older release what it
// does not know.
func (s Suspension) MarshalJSON() ([]byte, error) {
	key, err := subjectKey(s.Subject)
	if err != nil {
		return nil, fmt.Errorf("suspend: %w", err)
	}
	return json.Marshal([2][]byte{key, encodeSuspension(s)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Suspension) UnmarshalJSON(text []byte) (err error) {
	var stored [2][]byte
	if err := json.Unmarshal(text, &stored); err != nil {
		return err
	}
	*s, err = decodeSuspension(stored[0], stored[1])
	return err
}

// The form of a suspension, numbers big endian: version, time as in a claim, uid
// (4 bytes), reason. Version 2 is that of an owner: after the uid 1 byte, which is 1 when
// it is nested, the number of prefixes held (4 bytes) and the key of each, the number of
// entries that stay (4 bytes) and of each its key, 1 byte length and the owner; then the
// reason. Of a limit: version, the bits of PerSecond, burst (4 bytes).
const (
	suspensionVersion = 1
	holdVersion       = 2
	suspensionHead    = 1 + timeSize + 4
	limitVersion      = 1
	limitSize         = 1 + 8 + 4
)

// subjectKey returns for a prefix the key of its claim, and for an owner its name, which never
// begins as a prefix does.
func subjectKey(s policy.Subject) ([]byte, error) {
	switch {
	case s.Owner == "":
		return appendKey(nil, s.Prefix), checkPrefix(s.Prefix)
	case s.Prefix.IsValid():
		return nil, fmt.Errorf("%s and %s are two subjects", s.Owner, s.Prefix)
	}
	return []byte(s.Owner), policy.ParseName("owner", s.Owner)
}

func parseSubject(key []byte) (s policy.Subject, err error) {
	if len(key) > 0 && (key[0] == family4 || key[0] == family6) {
		s.Prefix, err = parseKey(key)
		return s, err
	}
	s.Owner = string(key)
	return s, policy.ParseName("owner", s.Owner)
}

func encodeSuspensions(change Change) (writes []write, err error) {
	for _, subject := range change.Resume {
		key, err := subjectKey(subject)
		if err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
		writes = append(writes, write{key: key})
	}
	for _, s := range change.Suspend {
		key, err := subjectKey(s.Subject)
		if err == nil {
			err = policy.StoredNote(s.Reason)
		}
		if err != nil {
			return nil, fmt.Errorf("suspend: %w", err)
		}
		writes = append(writes, write{key, encodeSuspension(s)})
	}
	return writes, nil
}

func encodeSuspension(s Suspension) []byte {
	version := byte(suspensionVersion)
	if s.Owner != "" && !s.Unnoted {
		version = holdVersion
	}
	record := appendTime([]byte{version}, s.Time)
	record = binary.BigEndian.AppendUint32(record, s.UID)
	if version == holdVersion {
		record = appendHold(record, s)
	}
	return append(record, s.Reason...)
}

func appendHold(record []byte, s Suspension) []byte {
	nested := byte(0)
	if s.Nested {
		nested = 1
	}
	record = binary.BigEndian.AppendUint32(append(record, nested), uint32(len(s.Held)))
	for _, prefix := range s.Held {
		record = appendKey(record, prefix)
	}
	record = binary.BigEndian.AppendUint32(record, uint32(len(s.Stays)))
	for _, stay := range s.Stays {
		record = append(appendKey(record, stay.Prefix), byte(len(stay.Owner)))
		record = append(record, stay.Owner...)
	}
	return record
}

func decodeSuspension(key, record []byte) (s Suspension, err error) {
	if s.Subject, err = parseSubject(key); err != nil {
		return s, err
	}
	version := byte(suspensionVersion)
	if s.Owner != "" && len(record) > 0 && record[0] == holdVersion {
		version = holdVersion
	}
	if err := checkVersion(record, version, s.Subject); err != nil {
		return s, err
	}
	if len(record) < suspensionHead {
		return s, errShort
	}
	s.Time = parseTime(record[1:])
	s.UID = binary.BigEndian.Uint32(record[1+timeSize:])
	record = record[suspensionHead:]
	if s.Unnoted = s.Owner != "" && version != holdVersion; version == holdVersion {
		if record, err = s.parseHold(record); err != nil {
			return s, fmt.Errorf("suspension of %s: %w", s.Subject, err)
		}
	}
	s.Reason = string(record)
	return s, nil
}

// parseHold reads what appendHold wrote, and returns the rest of the record.
func (s *Suspension) parseHold(record []byte) (rest []byte, err error) {
	r := holdReader{rest: record}
	s.Nested = r.take(1)[0] == 1
	for range r.number() {
		s.Held = append(s.Held, r.prefix())
	}
	for range r.number() {
		stay := policy.Stay{Prefix: r.prefix()}
		stay.Owner = string(r.take(int(r.take(1)[0])))
		s.Stays = append(s.Stays, stay)
		if r.err == nil {
			r.err = policy.ParseName("owner", stay.Owner)
		}
	}
	return r.rest, r.err
}

// holdReader reads a hold. After an error it returns zeroes, and no more of them than a record has bytes.
type holdReader struct {
	rest []byte
	err  error
}

func (r *holdReader) take(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.err = nil, errShort
		return make([]byte, n)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *holdReader) number() uint32 {
	n := binary.BigEndian.Uint32(r.take(4))
	if int64(n) > int64(len(r.rest)) {
		r.err = errShort
		return 0
	}
	return n
}

func (r *holdReader) prefix() netip.Prefix {
	size := 1 + 4 + 1
	if len(r.rest) > 0 && r.rest[0] == family6 {
		size = 1 + 16 + 1
	}
	prefix, err := parseKey(r.take(size))
	if r.err == nil {
		r.err = err
	}
	return prefix
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

// checkVersion refuses a record of a newer release, and an empty one.
func checkVersion(record []byte, version byte, of any) error {
	if len(record) == 0 {
		return errShort
	}
	if record[0] != version {
		return fmt.Errorf("record of %v has version %d: %w", of, record[0], ErrNewer)
	}
	return nil
}

// Suspensions returns the suspensions: prefixes by policy.ComparePrefix, then owners by name. Errors are
// those of Claims.
func (s *Store) Suspensions() ([]Suspension, error) {
	return collect(s, bucketSuspended, decodeSuspension)
}

// Limits returns the limits, sorted by owner. Errors are those of Claims.
func (s *Store) Limits() ([]Limit, error) { return collect(s, bucketLimits, decodeLimit) }

// collect decodes a bucket, in the order of its keys.
func collect[T any](s *Store, name []byte, decode func(key, record []byte) (T, error)) (all []T, err error) {
	err = s.read(func(from source) error {
		return from.each(name, nil, func(key, record []byte) error {
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
