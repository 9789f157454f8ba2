package probing

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/probe"
)

func at(t *testing.T, addr net.Addr) netip.AddrPort {
	t.Helper()
	return addr.(*net.TCPAddr).AddrPort()
}

// Promise: a knock is that of a client of the API: SNI and Host are the service's, and a GET asks
// for the path that the operator is told. The connection stays open until it is closed.
func TestKnock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind     Kind
		tls      bool
		host     string
		sni, got string // what the server sees; "" is nothing
	}{
		{TLS, true, "api.example.net", "api.example.net", ""},
		{TLS, true, "", "", ""},
		{HTTP, false, "api.example.net", "", "api.example.net /p xdpallow-probe"},
		{HTTPS, true, "api.example.net", "api.example.net", "api.example.net /p xdpallow-probe"},
	} {
		t.Run(string(c.kind)+c.host, func(t *testing.T) {
			names, requests := make(chan string, 9), make(chan string, 9)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				requests <- r.Host + " " + r.URL.Path + " " + r.UserAgent()
			}))
			if c.tls {
				server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					names <- hello.ServerName
					return nil, nil
				}}
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			k := Knocker{Kind: c.kind, Host: c.host, Path: "/p", Patience: time.Minute}
			conn, err := k.Knock(t.Context(), at(t, server.Listener.Addr()))
			if err != nil || conn == nil {
				t.Fatalf("%v, %v", conn, err)
			}
			defer conn.Close()
			if c.tls {
				if got := <-names; got != c.sni {
					t.Errorf("SNI %q, want %q", got, c.sni)
				}
			}
			if c.got != "" {
				if got := <-requests; got != c.got {
					t.Errorf("the server saw %q, want %q", got, c.got)
				}
			} else if len(requests) != 0 {
				t.Errorf("the server saw %q, want no request", <-requests)
			}
		})
	}
}

// Promise: where nobody answers, a knock says so and is no error; a server that is silent is held
// no longer than the knock's patience, and its connection is open then.
func TestKnockIsBounded(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := at(t, listener.Addr())
	for _, kind := range []Kind{TLS, HTTP, HTTPS} {
		conn, err := Knocker{Kind: kind, Path: "/", Patience: 50 * time.Millisecond}.Knock(t.Context(), silent)
		if err != nil || conn == nil {
			t.Fatalf("%s: %v, %v", kind, conn, err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if text, err := io.ReadAll(server); err != nil || len(text) == 0 {
			t.Errorf("%s: the server read %q, %v", kind, text, err)
		}
		server.Close()
	}
	listener.Close()
	if conn, err := (Knocker{Kind: TLS, Patience: time.Minute}).Knock(t.Context(), silent); conn != nil || err != nil {
		t.Errorf("nobody answers: %v, %v", conn, err)
	}
}

// Promise: a probe has so many addresses at most, whatever the ports, and says whom it left out.
func TestPlanIsBounded(t *testing.T) {
	t.Parallel()
	asked := api.ProbePlan{Owner: "acme", LeftOut: 5}
	for i := range 200 {
		asked.Addresses = append(asked.Addresses, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	p, err := PlanOf(asked, api.ProbeService{Name: "api"}, []uint16{443, 8443}, TLS, 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Targets) != probe.MostTargets || p.LeftOut != 5+200-probe.MostTargets/2 {
		t.Errorf("%d targets, %d left out", len(p.Targets), p.LeftOut)
	}
	const want = "this opens up to 1280 connections, one at a time and of some 2 KB, to 128 addresses of acme (203.0.113.0, 203.0.113.1, 203.0.113.2, 203.0.113.3, …) at tcp/443, tcp/8443, in at most 52m48s"
	if got := p.String(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
