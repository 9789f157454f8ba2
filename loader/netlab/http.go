// This file plays the protected API and its customers.

package netlab

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Server is an HTTP server inside a namespace.
type Server struct {
	Addr netip.AddrPort // where it listens, with the port that the kernel chose

	http   *http.Server
	served chan error
}

// ServeHTTP serves inside the namespace from now on; addr is like ":443" or
// "10.80.0.1:0". The server must be closed before the namespace can go.
func (ns *Namespace) ServeHTTP(addr string, handler http.Handler) (*Server, error) {
	listener, err := ns.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Addr:   listener.Addr().(*net.TCPAddr).AddrPort(),
		http:   &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute},
		served: make(chan error, 1),
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close ends the server and its connections. It may be called once.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// HTTPClient returns a client that opens a new connection from local for each
// request, so that each request meets the filter. URLs must name their host in
// digits.
func (ns *Namespace) HTTPClient(local netip.Addr, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return ns.DialContext(ctx, network, local, addr)
			},
		},
	}
}
