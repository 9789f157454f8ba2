// This file speaks sock_diag, linux/inet_diag.h, by itself. netlink.SocketDiagTCP asks for
// all states and ports. netlink.SocketDestroy knows no IPv6 and sends no cookie; without the
// cookie the kernel ends the listener if the connection is gone.

package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var families = []uint8{unix.AF_INET, unix.AF_INET6}

// struct inet_diag_sockid: ports and addresses in network byte order, the interface
// and the two halves of the cookie in the host's.
const (
	sizeofID   = 48
	offsetSrc  = 4
	offsetDst  = 20
	offsetCook = 40
)

// struct inet_diag_msg: family, state, timer, retransmits, the id, five 32-bit words.
const (
	sizeofMessage = 72
	offsetInode   = 68
)

// reqBytecode is INET_DIAG_REQ_BYTECODE, and the codes are INET_DIAG_BC_S_GE and
// INET_DIAG_BC_S_LE, which compare the local port.
const (
	reqBytecode = 1
	codeLocalGE = 2
	codeLocalLE = 3
)

// diagRequest is struct inet_diag_req_v2.
type diagRequest struct {
	family, protocol uint8
	states           uint32 // a bit a state
	id               [sizeofID]byte
}

func (r *diagRequest) Len() int { return 8 + sizeofID }

func (r *diagRequest) Serialize() []byte {
	b := []byte{r.family, r.protocol, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, r.states)
	return append(b, r.id[:]...)
}

// kernel is a netlink socket. It stays in the namespace in which it was opened.
type kernel struct {
	socket  *nl.NetlinkSocket
	handles map[int]*nl.SocketHandle
}

func openKernel() (*kernel, error) {
	socket, err := nl.Subscribe(unix.NETLINK_INET_DIAG)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, ErrNoDiag
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	handles := map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: socket}}
	return &kernel{socket, handles}, nil
}

func (k *kernel) close() { k.socket.Close() }

// list appends the sockets of one family and protocol with a local port from low to high.
func (k *kernel) list(conns []Conn, family, protocol uint8, low, high uint16, states []State) ([]Conn, error) {
	ask := &diagRequest{family: family, protocol: protocol}
	for _, state := range states {
		ask.states |= 1 << state
	}
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.Sockets = k.handles
	req.AddData(ask)
	req.AddData(nl.NewRtAttr(reqBytecode, portRange(low, high)))
	var short error
	err := req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(message []byte) bool {
		if len(message) < sizeofMessage {
			short = fmt.Errorf("socket of %d bytes, want %d", len(message), sizeofMessage)
			return false
		}
		conns = append(conns, parseConn(message))
		return true
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrNoDiag
	}
	return conns, errors.Join(err, short)
}

// destroy ends one socket and returns when that is done.
func (k *kernel) destroy(c Conn) error {
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.Sockets = k.handles
	req.AddData(&diagRequest{family: c.family, protocol: unix.IPPROTO_TCP, states: 1 << c.State, id: c.id})
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

// portRange is a program of two comparisons of 8 bytes each: the code, how many bytes to jump
// if it is true, how many if not, and the port. The kernel returns a socket if the program
// ends exactly at its end, and leaves it out if it jumps 4 bytes beyond.
func portRange(low, high uint16) []byte {
	var b []byte
	for i, port := range []uint16{low, high} {
		b = append(b, codeLocalGE+byte(i), 8) // codeLocalLE is the next code
		b = binary.NativeEndian.AppendUint16(b, uint16(16-8*i+4))
		b = append(b, 0, 0)
		b = binary.NativeEndian.AppendUint16(b, port)
	}
	return b
}

func parseConn(message []byte) Conn {
	c := Conn{
		State:  State(message[1]),
		Inode:  binary.NativeEndian.Uint32(message[offsetInode:]),
		family: message[0],
		id:     [sizeofID]byte(message[4:]),
	}
	c.Local = netip.AddrPortFrom(c.addr(offsetSrc), binary.BigEndian.Uint16(c.id[0:]))
	c.Peer = netip.AddrPortFrom(c.addr(offsetDst), binary.BigEndian.Uint16(c.id[2:]))
	return c
}

func (c *Conn) addr(offset int) netip.Addr {
	if c.family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(c.id[offset:]))
	}
	return netip.AddrFrom16([16]byte(c.id[offset:])).Unmap()
}

// cookie returns a number that no other socket has had since boot.
func (c *Conn) cookie() uint64 {
	low, high := binary.NativeEndian.Uint32(c.id[offsetCook:]), binary.NativeEndian.Uint32(c.id[offsetCook+4:])
	return uint64(high)<<32 | uint64(low)
}
