// This file puts ready-made frames on a link, past the sender's own stack, and
// knows what became of each.

package netlab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Send sends Ethernet frames out of an interface of the namespace, in order. A
// frame that the kernel refuses, or that a veth's other end had no room for, is
// an error: a test must not count on what never arrived.
func (ns *Namespace) Send(ifname string, frames [][]byte) error {
	out, err := ns.openPacketSocket(ifname)
	if err != nil {
		return err
	}
	defer out.close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	sent, err := out.send(ctx, newBatch(frames))
	if err != nil {
		return fmt.Errorf("send frame %d out of %s in %s: %w", sent, ifname, ns.Name, err)
	}
	lost, err := out.lost()
	if err == nil && lost != 0 {
		err = fmt.Errorf("send out of %s in %s: %d frames lost between the ends", ifname, ns.Name, lost)
	}
	return err
}

// Send sends frames from the wire to the host over this link.
func (k *Link) Send(frames ...[]byte) error { return k.lab.Wire.Send(k.Name, frames) }

// packetSocket sends to one interface and receives nothing.
type packetSocket struct {
	fd      int
	ns      *Namespace
	ifname  string
	refused uint64 // times that a frame was refused, and sent again
	dropped uint64 // the interface's TxDropped at the beginning
}

// sendBuffer holds more frames than a veth's ring, so that a socket never waits
// for its own buffer: then a frame that is not taken was refused by the device.
const sendBuffer = 8 << 20

func (ns *Namespace) openPacketSocket(ifname string) (*packetSocket, error) {
	index, err := ns.Index(ifname)
	if err != nil {
		return nil, err
	}
	before, err := ns.Statistics(ifname)
	if err != nil {
		return nil, err
	}
	out := &packetSocket{fd: -1, ns: ns, ifname: ifname, dropped: before.TxDropped}
	err = ns.Do(func() (err error) {
		out.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(out.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
			return err
		}
		return unix.Bind(out.fd, &unix.SockaddrLinklayer{Ifindex: index})
	})
	if err != nil {
		out.close()
		return nil, fmt.Errorf("open packet socket on %s in %s: %w", ifname, ns.Name, err)
	}
	return out, nil
}

func (s *packetSocket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}

// lost returns how many accepted frames were dropped between the ends of a
// veth. The interface counts refused frames too, which were sent again; kernels
// before 6.7 without the fix "veth: Fixing transmit return status for dropped
// packets" refuse none, and lose them.
func (s *packetSocket) lost() (uint64, error) {
	after, err := s.ns.Statistics(s.ifname)
	if err != nil {
		return 0, err
	}
	dropped := after.TxDropped - s.dropped
	return dropped - min(dropped, s.refused), nil
}

// mmsghdr is struct mmsghdr, which x/sys does not have.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// batch is a list of frames that few system calls send.
type batch struct {
	vectors  []unix.Iovec
	messages []mmsghdr
}

// newBatch refers to the frames, which may change between sends.
func newBatch(frames [][]byte) *batch {
	b := &batch{vectors: make([]unix.Iovec, len(frames)), messages: make([]mmsghdr, len(frames))}
	for i, frame := range frames {
		b.vectors[i].Base = unsafe.SliceData(frame)
		b.vectors[i].SetLen(len(frame))
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// first returns the first n frames of b.
func (b *batch) first(n int) *batch { return &batch{b.vectors[:n], b.messages[:n]} }

// send sends all frames and returns how many the kernel accepted, which are all
// unless there is an error. A full ring, or an end that is down, is waited for
// until the context ends.
func (s *packetSocket) send(ctx context.Context, b *batch) (accepted int, err error) {
	defer runtime.KeepAlive(b)
	for accepted < len(b.messages) {
		n := min(len(b.messages)-accepted, floodBatch)
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&b.messages[accepted])), uintptr(n), 0, 0, 0)
		switch {
		case errno == 0 && int(sent) == n:
			accepted += n
		case errno == 0: // the error of the next frame is not told
			accepted += int(sent)
			s.refused++
		case errors.Is(errno, unix.ENOBUFS):
			s.refused++
			if sleep(ctx, 100*time.Microsecond); ctx.Err() != nil {
				return accepted, fmt.Errorf("no room: %w", ctx.Err())
			}
		case errors.Is(errno, unix.EINTR):
		default:
			return accepted, errno
		}
	}
	return accepted, nil
}
