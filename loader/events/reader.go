package events

// This file drains the kernel's samples ten times a second.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/xdpallow/xdpallow/loader/talkers"
	"github.com/xdpallow/xdpallow/maps/ring"
)

const (
	every = 100 * time.Millisecond
	// surplus is how many samples one drain takes before it stops their coming: the ring
	// holds 4,681, and a flood can fill it as fast as we empty it.
	surplus   = 5000
	namesLast = 10 * time.Second // how late a new name of an interface is noticed
	rarest    = 1 << 20          // one sample in so many packets is as few as there can be
)

// Kernel is where samples come from.
type Kernel interface {
	Drain(fn func(ring.Event)) error
	Lost() (uint64, error)                            // samples that found no room, in all
	Refused() (uint64, error)                         // refused packets, in all
	SetSampling(one, near uint32) error               // see maps.Tables
	Classify(events []Event) (misses []*talkers.Near) // for each event the prefix that it is near to, or nil
}

// Reader reads the samples of one kernel. Its methods are for one goroutine.
type Reader struct {
	kernel Kernel
	sketch *talkers.Sketch
	log    *Log
	names  map[uint32]string // of interfaces, by index
	named  time.Time         // when they were asked for

	drained        []ring.Event // the memory of the last drain, for the next
	last           time.Time
	begun          bool   // what the ring held before us was read
	lost, refused  uint64 // totals as of then
	all, nearby    rate
	one, near      uint32     // as last told the kernel
	passed, missed lastSecond // others, near misses
}

// NewReader returns a reader that begins now, and has the kernel sample every refused
// packet. What the kernel sampled before comes with the first Read, each sample with its own
// time. Errors are those of kernel.
func NewReader(kernel Kernel, sketch *talkers.Sketch, log *Log, now time.Time) (*Reader, error) {
	r := &Reader{kernel: kernel, sketch: sketch, log: log, names: map[uint32]string{}, last: now}
	var err error
	if r.lost, err = kernel.Lost(); err != nil {
		return nil, err
	}
	if r.refused, err = kernel.Refused(); err != nil {
		return nil, err
	}
	return r, r.tell(1, 1)
}

// Run reads until ctx ends. Failures are logged, each once while it lasts.
func (r *Reader) Run(ctx context.Context, log *slog.Logger) {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	failing := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		text := ""
		if err := r.Read(time.Now()); err != nil {
			text = err.Error()
		}
		if text != failing && text != "" {
			log.Error(fmt.Sprintf("read events: %s", text))
		}
		failing = text
	}
}

// Read reads the samples that there are, passes them on, and sets how often the kernel
// samples from now on. Errors are those of the kernel.
func (r *Reader) Read(now time.Time) error {
	samples, stopped, err := r.drain()
	if err != nil {
		return err
	}
	elapsed := now.Sub(r.last)
	r.last = now
	lost, err := r.loses(now)
	if err != nil {
		return err
	}
	near := r.take(samples, now)
	if !r.begun { // the time in which these came is not known: they make no rate
		r.begun, near = true, 0
	}
	refused, err := r.kernel.Refused()
	if err != nil {
		return err
	}
	delta := refused - r.refused
	if refused < r.refused { // an interface was detached, and its counters ended
		delta = 0
	}
	r.refused = refused
	r.all.observe(float64(delta), elapsed)
	r.nearby.observe(float64(near), elapsed)
	one, nearOne := max(r.all-r.nearby, 0).oneIn(Budget-NearBudget), r.nearby.oneIn(NearBudget)
	// When the ring was full, the kernel has chosen a rate of its own.
	if one == r.one && nearOne == r.near && lost == 0 && !stopped {
		return nil
	}
	return r.tell(one, nearOne)
}

func (r *Reader) tell(one, near uint32) error {
	if err := r.kernel.SetSampling(one, near); err != nil {
		return err
	}
	r.one, r.near = one, near
	return nil
}

// drain empties the ring, and reports whether it had to stop samples from coming.
func (r *Reader) drain() (samples []ring.Event, stopped bool, err error) {
	samples = r.drained[:0]
	defer func() { r.drained = samples }()
	var stopErr error
	err = r.kernel.Drain(func(e ring.Event) {
		samples = append(samples, e)
		if len(samples)%surplus == 0 {
			stopped, stopErr = true, r.kernel.SetSampling(rarest, rarest)
		}
	})
	if err == nil {
		err = stopErr
	}
	return samples, stopped, err
}

// loses counts the samples that the kernel had no room for.
func (r *Reader) loses(now time.Time) (uint64, error) {
	total, err := r.kernel.Lost()
	if err != nil {
		return 0, err
	}
	n := total - min(r.lost, total)
	r.lost = total
	if n > 0 {
		r.sketch.Lose(now, n)
		r.log.lose(n)
	}
	return n, nil
}

// take gives all samples to the sketch, and to the log as many as its budget has room for.
// It returns how many packets near misses stand for.
func (r *Reader) take(samples []ring.Event, now time.Time) (nearby uint64) {
	if len(samples) == 0 {
		return 0
	}
	if now.Sub(r.named) > namesLast {
		clear(r.names)
		r.named = now
	}
	boot := bootTime(now)
	others := make([]Event, 0, len(samples))
	var misses, suspects []Event
	for _, m := range samples {
		e := eventOf(m, boot, r.name(m.Interface))
		if m.Near {
			nearby += e.Weight
			suspects = append(suspects, e)
			continue
		}
		others = append(others, e)
	}
	// The kernel's filter says "probably near". A sample near no entry is one of the others.
	for i, near := range r.kernel.Classify(suspects) {
		if suspects[i].Near = near; near != nil {
			misses = append(misses, suspects[i])
		} else {
			others = append(others, suspects[i])
		}
	}
	for _, list := range [][]Event{misses, others} {
		for _, e := range list {
			r.sketch.Add(e.sample())
		}
	}
	misses = downsample(misses, r.missed.room(now, NearBudget), r.log)
	r.missed.count(now, len(misses))
	others = downsample(others, r.passed.room(now, Budget-NearBudget), r.log)
	r.passed.count(now, len(others))
	r.log.add(inOrder(misses, others))
	return nearby
}

func (r *Reader) name(index uint32) string {
	name, found := r.names[index]
	if !found {
		if device, err := net.InterfaceByIndex(int(index)); err == nil {
			name = device.Name
		}
		r.names[index] = name
	}
	return name
}
