package main

// This file is the attack: a flood that comes in waves, odd packets in the middle of
// it, and a customer who goes on all the while.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

const port = 8443

var everybody = netip.MustParsePrefix("198.18.0.0/15")

// waves are the flood in packets a second, each for a part of the time.
var waves = []int{0, 20_000, 45_000, 80_000, 80_000, 60_000, 70_000, 25_000, 8_000, 0}

func (s *stage) attack(ctx context.Context, length time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	link := s.lab.Link("eth0")
	api := netip.AddrPortFrom(link.Host4, port)
	server, err := s.lab.Host.ServeHTTP(fmt.Sprintf(":%d", port), nil)
	if err != nil {
		return err
	}
	defer server.Close()
	part := length / time.Duration(len(waves))
	var errs [3]error
	var running sync.WaitGroup
	running.Go(func() { errs[0] = flood(ctx, link, api, part) })
	running.Go(func() { errs[1] = odd(ctx, link, api, part) })
	running.Go(func() { errs[2] = s.customer(ctx, api) })
	running.Wait()
	return errors.Join(errs[:]...)
}

func flood(ctx context.Context, link *netlab.Link, api netip.AddrPort, part time.Duration) error {
	for i, rate := range waves {
		wave, cancel := context.WithTimeout(ctx, part)
		if rate > 0 {
			if _, err := link.Flood(wave, netlab.Flood{Sources: everybody, Target: api, Rate: rate, Seed: uint64(i)}); err != nil {
				cancel()
				return err
			}
		}
		<-wave.Done()
		cancel()
	}
	return nil
}

// odd sends what no client sends: SYNs from port 0, and IPv4 headers that are too short.
func odd(ctx context.Context, link *netlab.Link, api netip.AddrPort, part time.Duration) error {
	const ipHeader = 14
	var frames [][]byte
	for range 96 {
		source := netip.AddrFrom4([4]byte{198, 18, byte(rand.Uint32()), byte(rand.Uint32())})
		frame, err := link.SYN(netip.AddrPortFrom(source, 0), api)
		if err != nil {
			return err
		}
		if len(frames)%3 == 0 {
			frame[ipHeader] = 0x44
		}
		frames = append(frames, frame)
	}
	end := time.After(6 * part)
	for wait := time.After(2 * part); ; wait = time.After(4 * time.Millisecond) {
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case <-wait:
			_ = link.Send(frames...) // a full ring is what a flood makes
		}
	}
}

// customer connects ten times a second, and must always get through.
func (s *stage) customer(ctx context.Context, api netip.AddrPort) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
		if outcome, err := s.lab.Wire.Knock(netlab.Listed4, api, 5*time.Second); outcome != netlab.Connected {
			return fmt.Errorf("the customer was %s: %w", outcome, err)
		}
	}
}
