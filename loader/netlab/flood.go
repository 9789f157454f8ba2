// This file floods a host with SYNs from ever new sources, as fast as one core
// sends them, and counts every frame.

package netlab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// floodBatch is how many frames one system call sends. A veth's ring holds 256:
// a bigger batch could lose frames by itself.
const floodBatch = 64

// Flood is a SYN flood from random addresses and ports.
type Flood struct {
	Sources netip.Prefix   // each frame has a random source in here
	Talker  netip.Prefix   // if valid, of the same family: one frame in five is from here instead
	Target  netip.AddrPort // address of the same family
	Count   uint64         // frames to send; 0 sends until the context ends
	Rate    int            // frames a second at most; 0 is as fast as one core can
	Seed    uint64         // the same seed makes the same frames
}

// Flooded is what became of a flood.
type Flooded struct {
	Sent    uint64 // frames that the kernel accepted from us
	Lost    uint64 // of those, frames dropped before the host's interface got them
	Elapsed time.Duration
}

// Arrived returns the number of frames that reached the host's interface. It is
// exact if the wire sends nothing else over the link that could be lost.
func (f Flooded) Arrived() uint64 { return f.Sent - f.Lost }

// Flood sends the flood over this link from the wire to the host. It blocks
// until Count frames are sent or the context ends, which is not an error: the
// result says how far it came, also beside an error.
func (k *Link) Flood(ctx context.Context, flood Flood) (result Flooded, err error) {
	forge, err := newForge(k, flood)
	if err != nil {
		return result, fmt.Errorf("flood %s: %w", k.Name, err)
	}
	talker := forge
	if flood.Talker.IsValid() {
		another := flood
		another.Sources = flood.Talker
		if talker, err = newForge(k, another); err != nil {
			return result, fmt.Errorf("flood %s: %w", k.Name, err)
		}
	}
	out, err := k.lab.Wire.openPacketSocket(k.Name)
	if err != nil {
		return result, fmt.Errorf("flood %s: %w", k.Name, err)
	}
	defer out.close()
	start := time.Now()
	result.Sent, err = pump(ctx, out, forge, talker, flood)
	result.Elapsed = time.Since(start)
	if err != nil {
		return result, fmt.Errorf("flood %s: %w", k.Name, err)
	}
	lost, err := out.lost()
	if err != nil {
		return result, fmt.Errorf("flood %s: %w", k.Name, err)
	}
	result.Lost = min(lost, result.Sent) // the wire's own packets get lost too
	return result, nil
}

func pump(ctx context.Context, out *packetSocket, forge, talker *forge, flood Flood) (sent uint64, err error) {
	frames := make([][]byte, floodBatch)
	for i := range frames {
		frames[i] = slices.Clone(forge.template)
	}
	batch := newBatch(frames)
	start := time.Now()
	for ctx.Err() == nil && (flood.Count == 0 || sent < flood.Count) {
		n := floodBatch
		if left := flood.Count - sent; flood.Count != 0 && left < floodBatch {
			n = int(left)
		}
		for i, frame := range frames[:n] {
			if (sent+uint64(i))%5 == 0 {
				talker.forge(frame)
			} else {
				forge.forge(frame)
			}
		}
		accepted, err := out.send(ctx, batch.first(n))
		sent += uint64(accepted)
		if err != nil && ctx.Err() == nil {
			return sent, err
		}
		if flood.Rate > 0 {
			due := time.Duration(float64(sent) / float64(flood.Rate) * float64(time.Second))
			sleep(ctx, due-time.Since(start))
		}
	}
	return sent, nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Offsets in an Ethernet frame without tags and options.
const (
	ipChecksum4  = 14 + 10
	source4      = 14 + 12
	sourcePort4  = 14 + 20
	tcpChecksum4 = sourcePort4 + 16
	source6      = 14 + 8
	sourcePort6  = 14 + 40
	tcpChecksum6 = sourcePort6 + 16
)

// forge rewrites source address and port of a SYN. The template has zeros
// there, so its checksums need only what is put in added (RFC 1624).
type forge struct {
	template []byte
	random   *rand.PCG
	network  [16]byte // of the sources; the first 4 bytes for IPv4
	host     [16]byte // mask of the bits that vary
	is4      bool
}

func newForge(link *Link, flood Flood) (*forge, error) {
	sources := flood.Sources.Masked()
	if !sources.IsValid() {
		return nil, fmt.Errorf("no source prefix")
	}
	template, err := link.SYN(netip.AddrPortFrom(unspecified(sources.Addr()), 0), flood.Target)
	if err != nil {
		return nil, err
	}
	f := &forge{template: template, random: rand.NewPCG(flood.Seed, 0), is4: sources.Addr().Is4()}
	copy(f.network[:], sources.Addr().AsSlice())
	for bit := sources.Bits(); bit < sources.Addr().BitLen(); bit++ {
		f.host[bit/8] |= 0x80 >> (bit % 8)
	}
	return f, nil
}

func (f *forge) forge(frame []byte) {
	source, port, tcpChecksum := frame[source6:source6+16], frame[sourcePort6:], tcpChecksum6
	if f.is4 {
		source, port, tcpChecksum = frame[source4:source4+4], frame[sourcePort4:], tcpChecksum4
	}
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:], f.random.Uint64())
	if !f.is4 {
		binary.LittleEndian.PutUint64(random[8:], f.random.Uint64())
	}
	for i := range source {
		source[i] = f.network[i] | random[i]&f.host[i]
	}
	sourcePort := uint16(1024 + f.random.Uint64()%(1<<16-1024))
	binary.BigEndian.PutUint16(port, sourcePort)

	added := sum(source)
	if f.is4 {
		f.add(frame, ipChecksum4, added)
	}
	f.add(frame, tcpChecksum, added+uint32(sourcePort))
}

// add corrects the checksum at offset for words that were zero in the template.
func (f *forge) add(frame []byte, offset int, words uint32) {
	before := uint32(^binary.BigEndian.Uint16(f.template[offset:]))
	binary.BigEndian.PutUint16(frame[offset:], checksum(before+words))
}
