package main

// This file is a customer outside of the machine who lets himself in.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// enrolled starts the unit of enrolment, and has a customer enrol. It shows that the user, group and sandbox that
// systemd makes for it let it read its key and reach the daemon, and leave it nothing else.
func (m *machine) enrolled(t *testing.T) {
	const config, dir = "/etc/xdpallow/config.yaml", "/etc/xdpallow/enrol"
	from := netip.MustParseAddr("198.18.3.9") // not of the strangers' networks, who are never answered
	if err := m.outside.lab.AddClients(netip.PrefixFrom(from, 24).Masked()); err != nil {
		t.Fatal(err)
	}
	own, acme := labtest.Sign(t, "enrol.example.net", nil, nil), labtest.Sign(t, "acme", nil, nil)
	m.must(t, fmt.Sprintf("cp %s saved && mkdir -p %s/clients", config, dir))
	for path, text := range map[string][]byte{"cert.pem": own.CertPEM, "key.pem": own.KeyPEM, "clients/acme.pem": acme.CertPEM} {
		m.must(t, fmt.Sprintf("echo %s | base64 -d >%s/%s", base64.StdEncoding.EncodeToString(text), dir, path))
	}
	m.must(t, "chmod 600 "+dir+"/key.pem && printf 'enrol: {acme: {for: 1m, addresses: 1}}\\n' >>"+config)
	m.must(t, "systemctl restart xdpallow && { systemctl start xdpallow-enrol || { systemctl status -l --no-pager xdpallow-enrol; false; }; }")
	m.must(t, "! xdpallow check "+from.String()+" --port 443")
	client := http.Client{Timeout: commandLimit, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			Certificates:       []tls.Certificate{acme.TLS()},
			InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				if !s.PeerCertificates[0].Equal(own.Certificate) {
					return x509.UnknownAuthorityError{Cert: s.PeerCertificates[0]}
				}
				return nil
			},
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return m.outside.lab.Wire.DialContext(ctx, network, from, addr)
		},
	}}
	m.within(t, "a customer enrols", func() error {
		response, err := client.Post("https://"+netip.AddrPortFrom(segments[0].guest4.Addr(), 8444).String()+"/v1/enrol", "", nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, text)
		}
		return nil
	})
	m.must(t, "xdpallow check "+from.String()+" --port 443 && xdpallow list acme | grep -q ' enrol '")
	labtest.Expect(t, m.outside.lab.Wire, from, netip.AddrPortFrom(segments[0].guest4.Addr(), apiPort), netlab.Connected)
	m.must(t, "pid=$(systemctl show -P MainPID xdpallow-enrol) && [ $(stat -c %u /proc/$pid) != 0 ] && grep -q '^CapBnd:.0000000000000000$' /proc/$pid/status && "+
		"grep -q 'NoNewPrivs:.1' /proc/$pid/status")
	m.must(t, "[ $(stat -c %a:%G /run/xdpallow/enrol.sock) = 660:xdpallow-enrol ]")

	m.must(t, "systemctl stop xdpallow-enrol && mv saved "+config+" && systemctl restart xdpallow && [ ! -e /run/xdpallow/enrol.sock ]")
}
