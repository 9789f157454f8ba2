package enrol

// This file is the process that customers talk with. It has no rights and keeps nothing: whoever breaks
// into it can do what the daemon allows to all customers together.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/xdpallow/xdpallow/loader/enrol"
)

const (
	// patience is how long a handshake may take, and then a request.
	patience = 5 * time.Second
	// atOnce is how many connections there may be, and perSource how many of them from one address: who opens
	// more waits, or is sent away.
	atOnce, perSource = 64, 8
)

// Options are what the process is started with.
type Options struct {
	Listen  string // host:port
	Cert    string // that it shows, and its key; paths
	Key     string
	Clients string // directory with the certificates of customers
	Socket  string // of the daemon, see Socket
}

// Run serves customers until ctx ends.
func Run(ctx context.Context, o Options) error {
	server, listener, err := listen(ctx, o)
	if err != nil {
		return err
	}
	slog.Info(fmt.Sprintf("customers enrol at %s", listener.Addr()))
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = errors.Join(server.Shutdown(grace), server.Close())
	}()
	err = server.Serve(listener)
	if ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", o.Listen, err)
	}
	<-stopped
	return nil
}

func listen(ctx context.Context, o Options) (*http.Server, net.Listener, error) {
	p := &process{
		pair: pair{cert: o.Cert, key: o.Key}, clients: clients{dir: o.Clients},
		daemon: http.Client{Timeout: patience, Transport: &http.Transport{
			DisableKeepAlives: true, // else the first request after a restart would fail
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", o.Socket)
			},
		}},
	}
	if _, err := p.pair.get(); err != nil {
		return nil, nil, err
	}
	p.clients.refresh()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{
		Handler: p, ReadTimeout: patience, WriteTimeout: 2 * patience, MaxHeaderBytes: 16 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0), // strangers' broken handshakes are no news
	}
	server.SetKeepAlivesEnabled(false) // each request shows its certificate anew
	return server, tls.NewListener(bounded(listener), p.config()), nil
}

// process answers customers.
type process struct {
	pair    pair
	clients clients
	daemon  http.Client

	mu   sync.Mutex
	pace enrol.Pace // of what is told
}

// config has the customer show a certificate, and asks for none of a certain authority: the names of those would
// be a list of customers. Whose it is is found out before the handshake is over.
func (p *process) config() *tls.Config {
	base := &tls.Config{
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.pair.get() },
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a certificate that was taken away does not come back by a ticket
		NextProtos:             []string{"http/1.1"},
	}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config := base.Clone()
		config.GetConfigForClient = nil
		config.VerifyConnection = func(state tls.ConnectionState) error {
			return p.verify(hello.Conn.RemoteAddr(), state)
		}
		return config, nil
	}
	return base
}

func (p *process) verify(from net.Addr, state tls.ConnectionState) error {
	shown := state.PeerCertificates[0]
	_, err := p.clients.owner(state.PeerCertificates, time.Now())
	if err != nil {
		p.mu.Lock()
		told := p.pace.Asked("", time.Now())
		p.mu.Unlock()
		if told <= enrol.PerMinute { // anybody can make certificates
			slog.Warn(fmt.Sprintf("refused a certificate of CN=%.64q from %s, %s: %v", shown.Subject.CommonName, from, named(state), err))
		}
	}
	return err
}

// named is the certificate of the other end, as the daemon notes it.
func named(state tls.ConnectionState) string {
	shown := state.PeerCertificates[0]
	return enrol.Certificate(shown.SerialNumber, sha256.Sum256(shown.Raw))
}

// ServeHTTP asks the daemon to let the other end of the connection in. Nothing that the customer writes counts:
// his name is in the certificate, and his address that of his packets.
func (p *process) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != path:
		write(w, http.StatusNotFound, failure{"there is POST " + path + " and nothing else", enrol.Failed})
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		write(w, http.StatusMethodNotAllowed, failure{"curl -X POST", enrol.Failed})
		return
	}
	owner, err := p.clients.owner(r.TLS.PeerCertificates, time.Now())
	from, badFrom := netip.ParseAddrPort(r.RemoteAddr)
	if err = errors.Join(err, badFrom); err != nil {
		write(w, http.StatusForbidden, failure{err.Error(), enrol.Failed})
		return
	}
	status, answer, err := p.ask(r.Context(), enrol.Request{Owner: owner, Address: from.Addr().Unmap(), Certificate: named(*r.TLS)})
	if err != nil {
		slog.Error(fmt.Sprintf("%s cannot enrol: %v", owner, err))
		w.Header().Set("Retry-After", "10")
		write(w, http.StatusServiceUnavailable, failure{"try again in a moment", enrol.Failed})
		return
	}
	write(w, status, answer)
}

// ask asks the daemon, and returns what the customer is to be told. The error is that the daemon does not answer, or
// that it failed.
func (p *process) ask(ctx context.Context, request enrol.Request) (status int, answer json.RawMessage, err error) {
	text, err := json.Marshal(request)
	if err != nil {
		return 0, nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://xdpallow"+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	response, err := p.daemon.Do(r)
	if err != nil {
		return 0, nil, errors.Unwrap(err) // without the made-up URL
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil {
		return 0, nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	var failed failure
	_ = json.Unmarshal(answer, &failed)
	switch response.StatusCode {
	case http.StatusOK, http.StatusTooManyRequests:
	case http.StatusForbidden:
		if failed.Result != "" && failed.Result != enrol.Failed {
			break
		}
		fallthrough // this process may not ask, or the operator has made a mistake
	default:
		return 0, nil, fmt.Errorf("the daemon answers %s: %s", response.Status, failed.Error)
	}
	return response.StatusCode, answer, nil
}
