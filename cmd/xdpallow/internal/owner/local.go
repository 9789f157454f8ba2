package owner

// This file knows the addresses of the host itself. The backstop lets them pass, and so does
// the endpoint, or the host's own health check of its API would be refused.

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// ownAge is how old what is known of the host's addresses may be.
const ownAge = time.Second

// ownAddresses are those of the host, read again when they are asked for and old. Only one of
// those who ask reads them; the others go by what was known.
type ownAddresses struct {
	known   atomic.Pointer[map[netip.Addr]bool]
	read    atomic.Int64 // when, in ns since 1970
	reading atomic.Bool
}

// has reports whether addr is one of them, or a loopback address.
func (o *ownAddresses) has(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	known := o.known.Load()
	if now := time.Now().UnixNano(); (known == nil || now-o.read.Load() > int64(ownAge)) && o.reading.CompareAndSwap(false, true) {
		if fresh, err := interfaceAddresses(); err == nil { // else what was known goes on
			known = &fresh
			o.known.Store(known)
		}
		o.read.Store(now)
		o.reading.Store(false)
	}
	return known != nil && (*known)[addr]
}

func interfaceAddresses() (map[netip.Addr]bool, error) {
	all, err := net.InterfaceAddrs()
	own := map[netip.Addr]bool{}
	for _, a := range all {
		if network, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(network.IP); ok && !addr.IsLinkLocalUnicast() {
				own[addr.Unmap()] = true // link-local ones may be another's on another link
			}
		}
	}
	return own, err
}
