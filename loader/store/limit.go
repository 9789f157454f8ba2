package store

// This file stores how many connections an owner may open.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var bucketLimits = []byte("limits.2") // owner: record

// Limit bounds how many connections an owner opens.
type Limit struct {
	Owner     string  `json:"owner"`
	PerSecond float64 `json:"per_second"` // over 0
	Burst     uint32  `json:"burst"`
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

// Limits returns the limits, sorted by owner. Errors are those of Claims.
func (s *Store) Limits() ([]Limit, error) { return collect(s, bucketLimits, decodeLimit) }
