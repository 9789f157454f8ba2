// This file is the form of a use in the database. A million of them are written again and again, so a
// record is as short as its numbers.

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The form of a use: version, first enforced, last seen (varint, seconds since
// 1970, 0 is never), hits, live, life (uvarints); of an owner's: version, last seen likewise,
// passed, audited, number of reasons, and of each 1 byte length, bytes, count
// (uvarints).
const (
	useVersion      = 1
	ownerUseVersion = 1
)

func encodeUse(u Use) []byte {
	record := append(make([]byte, 0, 24), useVersion)
	record = appendSeconds(record, u.FirstEnforced)
	record = appendSeconds(record, u.LastSeen)
	record = binary.AppendUvarint(record, u.Hits)
	record = binary.AppendUvarint(record, uint64(u.Live))
	return binary.AppendUvarint(record, uint64(u.Life))
}

func decodeUse(record []byte) (u Use, err error) {
	if err := checkVersion(record, useVersion, "use"); err != nil {
		return u, err
	}
	r := varints{rest: record[1:]}
	u = Use{FirstEnforced: r.seconds(), LastSeen: r.seconds(), Hits: r.unsigned(), Live: uint32(r.unsigned()), Life: uint32(r.unsigned())}
	return u, r.end()
}

func encodeOwnerUse(u OwnerUse) ([]byte, error) {
	record := appendSeconds([]byte{ownerUseVersion}, u.LastSeen)
	record = binary.AppendUvarint(record, u.Passed)
	record = binary.AppendUvarint(record, u.Audited)
	record = binary.AppendUvarint(record, uint64(len(u.Dropped)))
	for _, reason := range slices.Sorted(maps.Keys(u.Dropped)) {
		if len(reason) > 255 {
			return nil, fmt.Errorf("reason %q is too long", reason)
		}
		record = append(append(record, byte(len(reason))), reason...)
		record = binary.AppendUvarint(record, u.Dropped[reason])
	}
	return record, nil
}

func decodeOwnerUse(record []byte) (u OwnerUse, err error) {
	if err := checkVersion(record, ownerUseVersion, "use"); err != nil {
		return u, err
	}
	r := varints{rest: record[1:]}
	u = OwnerUse{LastSeen: r.seconds(), Passed: r.unsigned(), Audited: r.unsigned(), Dropped: make(map[string]uint64)}
	for range r.unsigned() {
		name, rest, err := cutName(r.rest)
		if err != nil {
			return u, err
		}
		r.rest = rest
		u.Dropped[string(name)] = r.unsigned()
	}
	return u, r.end()
}

// appendSeconds writes the zero Time as 0, which its Unix time is not.
func appendSeconds(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.Unix())
}

// varints reads numbers from the front of a record. The first error stays.
type varints struct {
	rest []byte
	err  error
}

func (r *varints) seconds() time.Time {
	seconds, n := binary.Varint(r.rest)
	if r.took(n); r.err != nil || seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func (r *varints) unsigned() uint64 {
	value, n := binary.Uvarint(r.rest)
	r.took(n)
	return value
}

func (r *varints) took(n int) {
	if n <= 0 {
		r.err, r.rest = errors.Join(r.err, errShort), nil
		return
	}
	r.rest = r.rest[n:]
}

func (r *varints) end() error {
	if r.err == nil && len(r.rest) > 0 {
		return errors.New("record has something behind its end")
	}
	return r.err
}
