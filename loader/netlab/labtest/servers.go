// This file plays servers of somebody else: a web server with TLS, and a name server.

package labtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// ServeTLS serves inside the namespace for as long as the test lives, with a certificate of its
// own for the address and for names. It returns that in PEM.
func ServeTLS(tb testing.TB, ns *netlab.Namespace, addr netip.AddrPort, handler http.Handler, names ...string) (certificate []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: names, IPAddresses: []net.IP{addr.Addr().AsSlice()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := ns.Listen("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
	}()
	tb.Cleanup(func() {
		server.Close()
		<-served
	})
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// ServeNames runs Debian's dnsmasq at port 53 of an address of the namespace for as long as the
// test lives. records are its --host-record, "vpn.example.net,192.0.2.7". It returns a function
// that ends it earlier.
func ServeNames(tb testing.TB, ns *netlab.Namespace, addr netip.Addr, records ...string) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-daemon", "--user=root",
		"--bind-interfaces", "--listen-address=" + addr.String(), "--local=/#/",
	}
	for _, record := range records {
		args = append(args, "--host-record="+record)
	}
	cmd := Command(ctx, ns, args...)
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%v (make tools installs dnsmasq-base)", err)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // killed
	}
	tb.Cleanup(stop)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := ns.DialContext(ctx, "tcp", addr, netip.AddrPortFrom(addr, 53).String())
		if err == nil {
			conn.Close()
			return stop
		}
		if time.Now().After(deadline) {
			tb.Fatalf("dnsmasq does not listen: %v", err)
		}
	}
}
