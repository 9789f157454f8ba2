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

// SetLocal tells the backstop which addresses are this namespace's own, so that the
// host's clients of its own API are not refused. What is new is put before what is
// gone is taken out.
func (t *Tables) SetLocal(addrs []netip.Addr) error {
	want := map[key6]bool{}
	for _, addr := range addrs {
		key := localKey(addr)
		want[key] = true
		if err := t.local.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("put own address %v: %w", addr, err)
		}
	}
	var gone []key6
	var key key6
	var value uint8
	for entries := t.local.Iterate(); entries.Next(&key, &value); {
		if !want[key] {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		if err := t.local.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("take an own address out: %w", err)
		}
	}
	return nil
}

// localKey is struct key of a whole address: IPv4 in its first four bytes.
func localKey(addr netip.Addr) key6 {
	key := key6{PrefixLen: uint32(addr.BitLen())}
	copy(key.Address[:], addr.AsSlice())
	return key
}
