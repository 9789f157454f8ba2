package enrol

// Promises guarded here: nobody gets as far as HTTP without a certificate that stands in the directory now; whose it
// is nobody but the operator says; and nothing that a customer writes changes whom or which address he enrols.

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// door is a process with a made-up daemon behind it.
type door struct {
	testing.TB
	Options
	address string

	mu     sync.Mutex
	asked  []enrol.Request
	status int // that the daemon answers
}

func newDoor(t *testing.T) *door {
	t.Helper()
	dir := t.TempDir()
	d := &door{TB: t, status: http.StatusOK, Options: Options{
		Listen: "127.0.0.1:0", Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
		Clients: filepath.Join(dir, "clients"), Socket: filepath.Join(dir, "enrol.sock"),
	}}
	if err := os.Mkdir(d.Clients, 0o755); err != nil {
		t.Fatal(err)
	}
	d.shows(labtest.Sign(t, "enrol.example.net", nil, nil))
	socket := labtest.Must(net.Listen("unix", d.Socket))(t)
	daemon := &httptest.Server{Listener: socket, Config: &http.Server{Handler: http.HandlerFunc(d.answer)}}
	daemon.Start()
	t.Cleanup(daemon.Close)
	server, listener, err := listen(t.Context(), d.Options)
	if err != nil {
		t.Fatal(err)
	}
	d.address = listener.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return d
}

// shows has the process show p.
func (d *door) shows(p *labtest.Pair) {
	d.Helper()
	d.file(d.Cert, p.CertPEM)
	d.file(d.Key, p.KeyPEM)
}

// file writes a file as an administrator does: in one step.
func (d *door) file(path string, text []byte) {
	d.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		d.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		d.Fatal(err)
	}
}

func (d *door) client(name string, pairs ...*labtest.Pair) {
	d.Helper()
	var text []byte
	for _, p := range pairs {
		text = append(text, p.CertPEM...)
	}
	d.file(filepath.Join(d.Clients, name), text)
}

func (d *door) answer(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var request enrol.Request
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		d.Error(err)
	}
	d.asked = append(d.asked, request)
	if d.status != http.StatusOK {
		write(w, d.status, failure{"no", map[int]string{403: enrol.Suspended, 429: enrol.TooOften}[d.status]})
		return
	}
	write(w, http.StatusOK, enrol.Answer{Owner: request.Owner})
}

// last is the last request that the daemon had, and how many it had.
func (d *door) last() (enrol.Request, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 {
		return enrol.Request{}, 0
	}
	return d.asked[len(d.asked)-1], len(d.asked)
}

func (d *door) daemon(status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = status
}

// post asks with a certificate, nil is none.
func (d *door) post(p *labtest.Pair, change func(*http.Request)) (status int, body string, err error) {
	d.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if p != nil {
		config.Certificates = []tls.Certificate{p.TLS()}
	}
	r := labtest.Must(http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+d.address+path, nil))(d)
	if change != nil {
		change(r)
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// enrols expects that p enrols owner; "" is nobody, and the end before HTTP.
func (d *door) enrols(when string, p *labtest.Pair, owner string) {
	d.Helper()
	_, before := d.last()
	status, body, err := d.post(p, nil)
	last, after := d.last()
	switch {
	case owner == "" && (err == nil || after != before):
		d.Errorf("%s: %d %s, the daemon was asked %d times", when, status, body, after-before)
	case owner != "" && (err != nil || status != http.StatusOK || after != before+1 || last.Owner != owner):
		d.Errorf("%s: %d %s, %v, the daemon was asked for %+v, want %s", when, status, body, err, last, owner)
	}
}

func TestWhoEnrols(t *testing.T) {
	d := newDoor(t)
	sign := func(name string, by *labtest.Pair) *labtest.Pair { return labtest.Sign(t, name, by, nil) }
	acme, stranger := sign("acme", nil), sign("acme", nil)
	d.enrols("with nothing there", acme, "")
	d.client("acme.pem", acme)
	d.enrols("the certificate is there", acme, "acme")
	d.enrols("no certificate", nil, "")
	d.enrols("the same name with another key", stranger, "")

	// A certificate of `openssl req -x509` may sign others. It must not make its owner anybody.
	d.enrols("signed by acme as globex", sign("globex", acme), "")
	d.enrols("signed by acme as acme", sign("acme", acme), "")
	d.client("globex.pem", stranger)
	d.enrols("an operator who has not looked at the name", stranger, "")
	d.enrols("beside a file that is refused", acme, "acme")

	next := sign("acme", nil)
	d.client("acme.pem", acme, next)
	d.enrols("the old one, in a rotation", acme, "acme")
	d.enrols("the new one, in a rotation", next, "acme")
	d.client("acme.pem", next)
	d.enrols("the old one, taken away", acme, "")
	d.enrols("the new one", next, "acme")
	if err := os.Remove(filepath.Join(d.Clients, "acme.pem")); err != nil {
		t.Fatal(err)
	}
	d.enrols("the file is gone", next, "")

	for name, change := range map[string]func(*x509.Certificate){
		"ended":     func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"not begun": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
	} {
		one := labtest.Sign(t, "acme", nil, change)
		d.client("acme.pem", one)
		d.enrols(name, one, "")
	}
}

func TestAuthorities(t *testing.T) {
	d := newDoor(t)
	authority := labtest.Sign(t, "Example CA", nil, nil)
	forClients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	acme, globex := labtest.Sign(t, "acme", authority, forClients), labtest.Sign(t, "globex", authority, forClients)
	d.client("Example CA.pem", authority)
	d.enrols("an authority that is taken for a customer", acme, "")
	d.client("ca.pem", authority)
	d.enrols("of an authority", acme, "acme")
	d.enrols("it may name anybody", globex, "globex")
	d.enrols("of nobody's", labtest.Sign(t, "acme", nil, nil), "")
	d.enrols("a certificate for servers", labtest.Sign(t, "acme", authority, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}), "")
	d.enrols("an ended one", labtest.Sign(t, "acme", authority, func(c *x509.Certificate) {
		forClients(c)
		c.NotAfter = time.Now().Add(-time.Minute)
	}), "")
	d.enrols("below a customer's", labtest.Sign(t, "globex", acme, forClients), "")
	if err := os.Remove(filepath.Join(d.Clients, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	d.enrols("the authority is gone", acme, "")
}

// A file that is no certificate keeps nobody out but its owner, and cannot hang the process.
func TestBadFiles(t *testing.T) {
	d := newDoor(t)
	acme, globex := labtest.Sign(t, "acme", nil, nil), labtest.Sign(t, "globex", nil, nil)
	d.client("acme.pem", acme)
	bad := map[string][]byte{
		"text": []byte("hello\n"), "empty": nil, "with its private key": append(globex.CertPEM, globex.KeyPEM...),
		"half": globex.CertPEM[:len(globex.CertPEM)/2], "large": append(globex.CertPEM, make([]byte, maxFile)...),
		"and another's": append(globex.CertPEM, acme.CertPEM...),
	}
	for name, text := range bad {
		d.file(filepath.Join(d.Clients, "globex.pem"), text)
		d.enrols(name, globex, "")
		d.enrols("beside a file: "+name, acme, "acme")
	}
	if err := unix.Mkfifo(filepath.Join(d.Clients, "initech.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(d.Clients, "hooli.pem")); err != nil {
		t.Fatal(err)
	}
	d.client("globex.pem", globex)
	d.enrols("beside a FIFO and a link to nothing", globex, "globex")
	d.client("README", acme)
	d.enrols("a file of another name", acme, "acme")
	if err := os.Rename(d.Clients, d.Clients+".away"); err != nil {
		t.Fatal(err)
	}
	d.enrols("the directory is gone", globex, "")
	if err := os.Rename(d.Clients+".away", d.Clients); err != nil {
		t.Fatal(err)
	}
	d.enrols("the directory is back", globex, "globex")
}

// A customer's words do not count: neither headers, query nor body.
func TestAddressIsThatOfTheConnection(t *testing.T) {
	d := newDoor(t)
	acme := labtest.Sign(t, "acme", nil, nil)
	d.client("acme.pem", acme)
	status, _, err := d.post(acme, func(r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Xdpallow-Owner"} {
			r.Header.Set(name, "203.0.113.7")
		}
		r.URL.RawQuery = "address=203.0.113.7&owner=globex"
		text := `{"owner":"globex","address":"203.0.113.7"}`
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	})
	last, _ := d.last()
	want := enrol.Request{Owner: "acme", Address: last.Address, Certificate: last.Certificate}
	if err != nil || status != http.StatusOK || last != want || !last.Address.IsLoopback() {
		t.Errorf("%d, %v: the daemon was asked for %+v", status, err, last)
	}
	if serial := acme.Certificate.SerialNumber.Text(16); !strings.HasPrefix(last.Certificate, serial+" sha256:") {
		t.Errorf("the certificate is noted as %q, want serial %s", last.Certificate, serial)
	}
	_, before := d.last()
	for method, p := range map[string]string{"GET": path, "PUT": path, "POST": "/v1/add", "OPTIONS": "*"} {
		status, _, err := d.post(acme, func(r *http.Request) { r.Method, r.URL.Path = method, p })
		if _, after := d.last(); err == nil && status < 400 || after != before {
			t.Errorf("%s %s: %d, %v, the daemon was asked %d times", method, p, status, err, after-before)
		}
	}
}

// What the daemon says a customer hears; whatever else goes wrong is no fault of his, and he may try again.
func TestAnswersOfTheDaemon(t *testing.T) {
	d := newDoor(t)
	acme := labtest.Sign(t, "acme", nil, nil)
	d.client("acme.pem", acme)
	for status, want := range map[int]int{200: 200, 403: 403, 429: 429, 400: 503, 404: 503, 500: 503} {
		d.daemon(status)
		if got, body, err := d.post(acme, nil); err != nil || got != want || got == 503 && !strings.Contains(body, "try again") {
			t.Errorf("the daemon answers %d: %d %s, %v, want %d", status, got, body, err, want)
		}
	}
	if err := os.Remove(d.Socket); err != nil {
		t.Fatal(err)
	}
	if got, body, err := d.post(acme, nil); err != nil || got != 503 || strings.Contains(body, d.Socket) {
		t.Errorf("no daemon: %d %s, %v", got, body, err)
	}
}

// A renewed certificate of the process is shown at the next handshake, and one that is broken never.
func TestOwnCertificateIsRenewed(t *testing.T) {
	d := newDoor(t)
	shown := func() *x509.Certificate {
		t.Helper()
		conn := labtest.Must(tls.Dial("tcp", d.address, &tls.Config{InsecureSkipVerify: true}))(t)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	first := shown()
	second := labtest.Sign(t, "enrol.example.net", nil, nil)
	d.file(d.Cert, second.CertPEM) // and not yet the key
	if !shown().Equal(first) {
		t.Error("in the middle of a renewal another certificate is shown")
	}
	d.file(d.Key, second.KeyPEM)
	if !shown().Equal(second.Certificate) {
		t.Error("the new certificate is not shown")
	}
	d.file(d.Cert, []byte("broken"))
	if !shown().Equal(second.Certificate) {
		t.Error("a broken file ends the process's certificate")
	}
}

// Strangers learn no name of a customer: the process asks for a certificate of no particular authority. And no
// ticket lets a customer in again whose certificate was taken away.
func TestHandshakeTellsNobody(t *testing.T) {
	d := newDoor(t)
	acme := labtest.Sign(t, "acme", nil, nil)
	d.client("acme.pem", acme)
	cache := tls.NewLRUClientSessionCache(8)
	var asked *tls.CertificateRequestInfo
	dial := func() error {
		conn, err := tls.Dial("tcp", d.address, &tls.Config{
			InsecureSkipVerify: true, ClientSessionCache: cache, ServerName: "enrol.example.net",
			GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = r
				pair := acme.TLS()
				return &pair, nil
			},
		})
		if err != nil {
			return err
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		text, err := io.ReadAll(conn)
		if err == nil && !bytes.HasPrefix(text, []byte("HTTP/1.1 200")) {
			err = fmt.Errorf("%s", text)
		}
		return err
	}
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	if asked == nil || len(asked.AcceptableCAs) > 0 {
		t.Errorf("it asks for a certificate of %q", asked.AcceptableCAs)
	}
	if err := os.Remove(filepath.Join(d.Clients, "acme.pem")); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err == nil {
		t.Error("a session is taken up again after the certificate was taken away")
	}
}

// Whoever opens connections and says nothing keeps out neither others nor, for long, himself.
func TestSilentConnections(t *testing.T) {
	d := newDoor(t)
	acme := labtest.Sign(t, "acme", nil, nil)
	d.client("acme.pem", acme)
	var open []net.Conn
	for range 4 * atOnce {
		conn, err := net.Dial("tcp", d.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
	}
	// From another address of the loopback network.
	other := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	transport := &http.Transport{DialContext: other.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{acme.TLS()}}}
	defer transport.CloseIdleConnections()
	r := labtest.Must(http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+d.address+path, nil))(t)
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("beside %d silent connections of somebody else: %v", len(open), err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("beside silent connections: %s", response.Status)
	}
	for _, conn := range open {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || os.IsTimeout(err) {
			t.Fatalf("a silent connection goes on: %d bytes, %v", n, err)
		}
	}
	d.enrols("when the silent ones are gone", acme, "acme")
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}
