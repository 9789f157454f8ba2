// This file is the form of a claim in the database. It is binary, because a million claims are read
// at every start, and has had every field since the first release, so that no release must migrate
// them.

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// A record, numbers big endian:
//
//	version  1 byte   recordVersion
//	flags    1 byte   1 is kept for suspended; none is in use
//	until    12 bytes seconds since 1970 (signed), nanoseconds; year 1 is for ever
//	created  12 bytes likewise: when the prefix was first added
//	owner    1 byte length, bytes
//	services 1 byte count, and of each 1 byte length, bytes; 0 is every service
//	note     the rest
const (
	recordVersion = 1
	timeSize      = 12
	headSize      = 2 + 2*timeSize
)

var errShort = errors.New("record is cut off")

// The first byte of a key separates the families, IPv4 first.
const (
	family4 = 4
	family6 = 6
)

// keySize is the longest key of a prefix.
const keySize = 1 + 16 + 1

// appendKey appends the key of a prefix: family, address, length. Keys sort
// as policy.ComparePrefix does.
func appendKey(key []byte, prefix netip.Prefix) []byte {
	family := byte(family6)
	if prefix.Addr().Is4() {
		family = family4
	}
	key = append(key, family)
	if family == family4 {
		addr := prefix.Addr().As4()
		key = append(key, addr[:]...)
	} else {
		addr := prefix.Addr().As16()
		key = append(key, addr[:]...)
	}
	return append(key, byte(prefix.Bits()))
}

// parseKey reads a key that appendKey wrote.
func parseKey(key []byte) (netip.Prefix, error) {
	var addr netip.Addr
	switch {
	case len(key) == 1+4+1 && key[0] == family4:
		addr = netip.AddrFrom4([4]byte(key[1:5]))
	case len(key) == 1+16+1 && key[0] == family6:
		addr = netip.AddrFrom16([16]byte(key[1:17]))
	default:
		return netip.Prefix{}, fmt.Errorf("key %x is no prefix", key)
	}
	prefix := netip.PrefixFrom(addr, int(key[len(key)-1]))
	if !prefix.IsValid() || prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("key %x is no canonical prefix", key)
	}
	return prefix, nil
}

// recordSize returns how long the record of a claim is.
func recordSize(c policy.Claim) int {
	size := headSize + 1 + len(c.Owner) + 1 + len(c.Note)
	for _, service := range c.Services {
		size += 1 + len(service)
	}
	return size
}

// encode appends the record of a claim of the command line to record.
func encode(record []byte, c policy.Claim, created time.Time) ([]byte, error) {
	record = append(record, recordVersion, 0)
	record = appendTime(record, c.Until)
	record = appendTime(record, created)
	if len(c.Services) > math.MaxUint8 {
		return nil, fmt.Errorf("%d services are too many", len(c.Services))
	}
	tooLong := func(name string) bool { return len(name) > math.MaxUint8 }
	if i := slices.IndexFunc(c.Services, tooLong); i >= 0 {
		return nil, fmt.Errorf("name %q is too long", c.Services[i])
	}
	if tooLong(c.Owner) {
		return nil, fmt.Errorf("name %q is too long", c.Owner)
	}
	record = append(append(record, byte(len(c.Owner))), c.Owner...)
	record = append(record, byte(len(c.Services)))
	for _, service := range c.Services {
		record = append(append(record, byte(len(service))), service...)
	}
	return append(record, c.Note...), nil
}

// decoder turns records into claims of one origin. Claims share one string for each owner, and one slice for each
// list of services: there are few of both.
type decoder struct {
	origin   policy.Origin
	owners   map[string]string
	services map[string][]string
}

func newDecoder(origin policy.Origin) *decoder {
	return &decoder{origin, make(map[string]string), make(map[string][]string)}
}

// decode returns the claim at a key, and when its prefix was first added. The claim does not refer to
// key or record, which bbolt reuses.
func (d *decoder) decode(key, record []byte) (c policy.Claim, created time.Time, err error) {
	if c.Prefix, err = parseKey(key); err != nil {
		return c, created, err
	}
	if len(record) == 0 {
		return c, created, errShort
	}
	if record[0] != recordVersion {
		return c, created, fmt.Errorf("record of %s has version %d: %w", c.Prefix, record[0], ErrNewer)
	}
	if len(record) < headSize {
		return c, created, errShort
	}
	if record[1] != 0 {
		return c, created, fmt.Errorf("record of %s has flags %#x: %w", c.Prefix, record[1], ErrNewer)
	}
	c.Origin = d.origin
	c.Until = parseTime(record[2:])
	created = parseTime(record[2+timeSize:])
	rest := record[headSize:]
	owner, rest, err := cutName(rest)
	if err != nil {
		return c, created, err
	}
	c.Owner = d.owner(owner)
	if c.Services, rest, err = d.cutServices(rest); err != nil {
		return c, created, err
	}
	c.Note = string(rest)
	return c, created, nil
}

func (d *decoder) owner(name []byte) string {
	owner, known := d.owners[string(name)]
	if !known {
		owner = string(name)
		d.owners[owner] = owner
	}
	return owner
}

// cutServices returns the service list in front of record and what follows.
func (d *decoder) cutServices(record []byte) ([]string, []byte, error) {
	if len(record) == 0 {
		return nil, nil, errShort
	}
	rest := record[1:]
	for range record[0] {
		var err error
		if _, rest, err = cutName(rest); err != nil {
			return nil, nil, err
		}
	}
	raw := record[:len(record)-len(rest)]
	services, known := d.services[string(raw)]
	if !known {
		for names := raw[1:]; len(names) > 0; {
			var name []byte
			name, names, _ = cutName(names) // was cut above
			services = append(services, string(name))
		}
		services = services[:len(services):len(services)] // an append must not reach another claim
		d.services[string(raw)] = services
	}
	return services, rest, nil
}

func cutName(b []byte) (name, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, nil, errShort
	}
	end := 1 + int(b[0])
	return b[1:end], b[end:], nil
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func parseTime(b []byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint32(b[8:]))).UTC()
}
