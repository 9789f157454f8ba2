// Package probing is the traffic of a probe: connections from this host, one at a time, to the
// addresses of a customer who has agreed. What it means is judged in loader/probe.
package probing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what a knock says once it is connected.
type Kind string

// The kinds.
const (
	TLS   Kind = "tls"   // a ClientHello: makes a proxy connect that forwards connections
	HTTP  Kind = "http"  // a GET: makes a proxy connect that forwards requests
	HTTPS Kind = "https" // a GET inside TLS
)

// PathOf returns the path that a GET of a probe asks for, so that it is found in the log of the
// API. token is of letters and digits.
func PathOf(token string) string { return "/.well-known/xdpallow-probe/" + token }

// Knocker knocks as a client of the API would.
type Knocker struct {
	Kind     Kind
	Host     string        // in SNI and Host; "" sends no SNI, and the address as Host
	Path     string        // of a GET
	Patience time.Duration // for all of a knock
}

// Knock connects to target and says what its kind says. The connection that it returns is open
// whatever the answer was; nil says that nobody answers. The error is one of this host.
func (k Knocker) Knock(ctx context.Context, target netip.AddrPort) (io.Closer, error) {
	late := time.Now().Add(k.Patience)
	conn, err := (&net.Dialer{Deadline: late}).DialContext(ctx, "tcp", target.String())
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENOBUFS):
		return nil, fmt.Errorf("knock at %s: %w", target, err)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, nil
	}
	_ = conn.SetDeadline(late)
	k.speak(ctx, conn)
	return conn, nil
}

// speak ignores errors: a proxy that does not like what it gets has connected by then, or never does.
func (k Knocker) speak(ctx context.Context, conn net.Conn) {
	if k.Kind != HTTP {
		// Who answers is not asked: nothing secret is said.
		encrypted := tls.Client(conn, &tls.Config{ServerName: k.Host, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err := encrypted.HandshakeContext(ctx); err != nil || k.Kind == TLS {
			return
		}
		conn = encrypted
	}
	host := k.Host
	if host == "" {
		host = conn.RemoteAddr().String()
	}
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: xdpallow-probe\r\nConnection: close\r\n\r\n", k.Path, host)
	for buffer := make([]byte, 4096); err == nil; { // to the end: what is left unread would be answered with a RST
		_, err = conn.Read(buffer)
	}
}
