package main

// This file is a partner of the machine: a web server and a name server outside.

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// followed has the daemon follow a page and a host name. It shows that the sandbox of the unit
// lets it connect, resolve, and read the certificates of the host.
func (m *machine) followed(t *testing.T) {
	const (
		config = "/etc/xdpallow/config.yaml"
		listed = "198.18.1.1" // by the page
		named  = "198.18.2.9" // by the name
	)
	at := segments[0].outside4.Addr()
	ca := labtest.ServeTLS(t, m.outside.lab.Wire, netip.AddrPortFrom(at, 8444), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "198.18.1.0/24\n")
	}), "partner.example")
	labtest.ServeNames(t, m.outside.lab.Wire, at, "partner.example,"+at.String(), "vpn.branch.example,"+named)

	m.must(t, "cp "+config+" saved && cp -a /etc/resolv.conf resolv.saved; rm -f /etc/resolv.conf; echo nameserver "+at.String()+" >/etc/resolv.conf")
	// The daemon is to find it where those of the public authorities are.
	m.must(t, fmt.Sprintf("mkdir -p /etc/ssl/certs && echo %s | base64 -d >/etc/ssl/certs/partner.pem", base64.StdEncoding.EncodeToString(ca)))
	m.must(t, `printf 'origins:\n  partner: {url: "https://partner.example:8444/", owner: partner}\n  branch: {dns: [vpn.branch.example], owner: branch}\n' >>`+config)
	m.must(t, "systemctl reload xdpallow")
	m.eventually(t, "xdpallow check "+listed+" --port 443")
	m.eventually(t, "xdpallow check "+named+" --port 443")

	m.must(t, "mv saved "+config+" && rm -f /etc/resolv.conf && { [ ! -e resolv.saved ] || mv resolv.saved /etc/resolv.conf; }")
	m.must(t, "systemctl reload xdpallow")
	m.eventually(t, "! xdpallow check "+listed+" --port 443")
}
