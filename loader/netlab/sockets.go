// This file opens sockets inside a namespace and says what became of a
// connection attempt: a test of a filter must tell a dropped SYN from a refused
// one.

package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Outcome is what became of a connection attempt.
type Outcome int

const (
	Failed    Outcome = iota // none of the below: no route, no such address
	Connected                // the handshake was completed
	Refused                  // the other side answered with RST: the SYN got through
	Dropped                  // no answer in the time given
)

func (o Outcome) String() string {
	switch o {
	case Connected:
		return "connected"
	case Refused:
		return "refused"
	case Dropped:
		return "dropped"
	default:
		return "failed"
	}
}

// OutcomeOf reads the error of a dial.
func OutcomeOf(err error) Outcome {
	var netErr net.Error
	switch {
	case err == nil:
		return Connected
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return Dropped
	default:
		return Failed
	}
}

// Knock opens a TCP connection from local to remote, closes it and says what
// became of it. Linux repeats a SYN after one second: a wait below that is a
// single SYN. The error is nil unless the outcome is Failed.
func (ns *Namespace) Knock(local netip.Addr, remote netip.AddrPort, wait time.Duration) (Outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, err := ns.DialContext(ctx, "tcp", local, remote.String())
	if err == nil {
		conn.Close()
	}
	if outcome := OutcomeOf(err); outcome != Failed {
		return outcome, nil
	}
	return Failed, err
}

// DialContext connects from inside the namespace; the connection may be used
// from any goroutine. The zero local address leaves the choice to the kernel.
// The remote is address:port in digits: names would be looked up outside.
func (ns *Namespace) DialContext(ctx context.Context, network string, local netip.Addr, remote string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(remote); err != nil {
		return nil, fmt.Errorf("dial from %s: %w", ns.Name, err)
	}
	dialer := net.Dialer{}
	if local.IsValid() {
		from := netip.AddrPortFrom(local, 0)
		switch network {
		case "tcp", "tcp4", "tcp6":
			dialer.LocalAddr = net.TCPAddrFromAddrPort(from)
		case "udp", "udp4", "udp6":
			dialer.LocalAddr = net.UDPAddrFromAddrPort(from)
		default:
			return nil, fmt.Errorf("dial from %s: %w", ns.Name, net.UnknownNetworkError(network))
		}
	}
	var conn net.Conn
	err := ns.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, network, remote)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial from %s: %w", ns.Name, err)
	}
	return conn, nil
}

// Listen listens inside the namespace; the listener may be used from any
// goroutine and must be closed before the namespace can go.
func (ns *Namespace) Listen(network, addr string) (net.Listener, error) {
	var listener net.Listener
	err := ns.Do(func() (err error) {
		listener, err = net.Listen(network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", ns.Name, err)
	}
	return listener, nil
}
