package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// webConfigFile asks for TLS and for the password "secret" of prometheus.
const webConfigFile = `tls_server_config: {cert_file: cert.pem, key_file: key.pem}
basic_auth_users: {prometheus: $2a$04$y/BG.Xt7TWRXIYkApdSiauZ1PFKu98XWm3ETmG1c70mUQbXeteKWe}
`

// Promise: with --web.config.file the metrics and the page before them are there by TLS and for
// who knows the password alone. While the file has a mistake nothing is served, the gate stands,
// and status says so.
func TestWebConfig(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	path := func(name string) string { return filepath.Join(h.dir, name) }
	write(t, path("web.yml"), "basic_auth: typed wrongly\n")
	h.run(append([]string{"--metrics", metricsAt, "--web.config.file", path("web.yml")}, allowed...)...)
	h.eventually("the mistake is a problem", func() bool {
		text := h.cli("status").stdout
		return strings.Contains(text, "metrics are not served") && strings.Contains(text, "editor "+path("web.yml"))
	})
	get := func(scheme, page, user, password string) (status int, body string, err error) {
		client := h.lab.Host.HTTPClient(netip.Addr{}, patience)
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		request := labtest.Must(http.NewRequest("GET", scheme+"://"+metricsAt+page, nil))(t)
		if user != "" {
			request.SetBasicAuth(user, password)
		}
		answer, err := client.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text), err
	}
	if status, body, err := get("http", "/metrics", "", ""); err == nil {
		t.Errorf("served in spite of the mistake: %d %.100s", status, body)
	}
	certificate(t, path("cert.pem"), path("key.pem"))
	write(t, path("web.yml"), webConfigFile)
	h.eventually("it is served once the file is right", func() bool {
		status, _, err := get("https", "/metrics", "prometheus", "secret")
		return err == nil && status == http.StatusOK
	})
	h.eventually("the problem is over", func() bool { return len(h.status().Problems) == 0 })
	for page, has := range map[string]string{"/metrics": "\nxdpallow_enforcing 1\n", "/": `<span class="yes">yes</span>`} {
		if status, body, err := get("https", page, "prometheus", "secret"); err != nil || status != http.StatusOK || !strings.Contains(body, has) {
			t.Errorf("%s: %d, %v, and no %q", page, status, err, has)
		}
		for _, who := range [][2]string{{"", ""}, {"prometheus", "wrong"}, {"admin", "secret"}} {
			if status, body, err := get("https", page, who[0], who[1]); err != nil || status != http.StatusUnauthorized || strings.Contains(body, "xdpallow") {
				t.Errorf("%s for %q: %d, %v", page, who, status, err)
			}
		}
		if status, body, err := get("http", page, "prometheus", "secret"); err == nil && status == http.StatusOK {
			t.Errorf("%s without TLS: %.100s", page, body)
		}
	}
	if status, _, err := get("https", "/other", "prometheus", "secret"); err != nil || status != http.StatusNotFound {
		t.Errorf("another page: %d, %v", status, err)
	}
}

// certificate writes one for 127.0.0.1, with its key.
func certificate(t *testing.T, cert, key string) {
	t.Helper()
	private := labtest.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}
	public := labtest.Must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))(t)
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: labtest.Must(x509.MarshalPKCS8PrivateKey(private))(t)})))
}
