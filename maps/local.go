package maps

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
)

// SetBackstop tells the XDP programs whether the backstop stands. While it does not they
// drop what the host would take out of a tunnel for nobody to judge.
func (t *Tables) SetBackstop(stands bool) error {
	var value uint8
	if stands {
		value = 1
	}
	if t.live.Backstop == value {
		return nil
	}
	return t.edit(func(c *bpf.XdpallowCurrent) { c.Backstop = value })
}

// Local is a prefix of which every address is this network namespace's own.
type Local struct {
	Prefix    netip.Prefix // canonical, and not IPv4-mapped
	Interface int          // index of the one by which packets from it may come in; 0 is any
}

// SetLocal tells the backstop which addresses are this namespace's own, so that the
// host's clients of its own API are not refused. What is new is put before what is
// gone is taken out.
func (t *Tables) SetLocal(own []Local) error {
	want := map[localKey]bool{}
	for _, l := range own {
		key := keyOfLocal(l)
		want[key] = true
		if err := t.local.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("put own address %v: %w", l.Prefix, err)
		}
	}
	if err := deleteOthers[localKey, uint8](t.local, want); err != nil {
		return fmt.Errorf("take an own address out: %w", err)
	}
	return nil
}

// deleteOthers deletes all keys of a map but those to keep.
func deleteOthers[K comparable, V any](m *ebpf.Map, keep map[K]bool) error {
	var gone []K
	var key K
	var value V
	for entries := m.Iterate(); entries.Next(&key, &value); {
		if !keep[key] {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// localKey is struct local_key, with fields that the library can copy as they lie.
type localKey struct {
	PrefixLen uint32
	Interface uint32
	Address   [16]byte // network byte order, IPv4 as IPv4-mapped
}

func keyOfLocal(l Local) localKey {
	addr := l.Prefix.Addr()
	length := 32 + l.Prefix.Bits() // of interface and address
	if addr.Is4() {
		length += 96
	}
	return localKey{uint32(length), uint32(l.Interface), addr.As16()}
}
