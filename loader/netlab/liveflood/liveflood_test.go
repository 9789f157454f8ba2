package liveflood_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/netlab/liveflood"
)

// Promise: what a flood says that it sent is what reaches TCP.
func TestEveryFrameArrives(t *testing.T) {
	sources := make([]byte, liveflood.Table)
	for at := 0; at < len(sources); at += 4 {
		binary.BigEndian.PutUint32(sources[at:], 198<<24|18<<16|uint32(at/4)&0xffff)
	}
	lab := labtest.New(t)
	if err := lab.Host.SetGRO("eth0", true); err != nil { // it polls then
		t.Fatal(err)
	}
	flood := labtest.Must(liveflood.New(lab, 8443, sources))(t)
	defer flood.Close()
	const frames = 1000
	segments, before := labtest.TCPInSegs(t, lab.Host), labtest.Must(flood.Sent())(t)
	if err := lab.Wire.Do(func() error { return flood.Send(frames) }); err != nil {
		t.Fatal(err)
	}
	if sent := labtest.Must(flood.Sent())(t) - before; sent != frames {
		t.Errorf("%d frames were sent, want %d", sent, frames)
	}
	for deadline := time.Now().Add(10 * time.Second); labtest.TCPInSegs(t, lab.Host)-segments != frames; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d segments reached TCP, want %d", labtest.TCPInSegs(t, lab.Host)-segments, frames)
		}
	}
}
