// Package fleet is one list for many hosts, kept in etcd: how it is read, written and watched. It is
// the only package that knows etcd; package layout has what stands there.
package fleet

// This file is the connection to etcd: it never blocks, proves who it is by a certificate, and
// says why nobody answers.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Config is how a fleet is reached. CA, Cert and Key are files in PEM, read again at each
// connection, so that a certificate is renewed without a restart.
type Config struct {
	Fleet     string   // its name, part of every key
	Endpoints []string // URLs; http only on this host
	CA        string
	Cert, Key string // of the etcd user whose name is the certificate's common name

	Within time.Duration // how long an answer may take; 0 is 3 s
}

// ConfigOf is where s, a list in etcd, is.
func ConfigOf(s source.Settings) Config {
	return Config{Fleet: s.Etcd.Fleet, Endpoints: s.Etcd.Endpoints, CA: s.Etcd.CA, Cert: s.Etcd.Cert, Key: s.Etcd.Key}
}

const (
	answersWithin = 3 * time.Second
	largestAnswer = 16 << 20 // bytes: 32 chunks and more
	root          = "/xdpallow/v1/"
)

// Errors of a request. Others are *policy.InputError and name the key.
var (
	ErrUnreachable = errors.New("etcd does not answer")
	ErrForbidden   = errors.New("permission denied")
)

// Client reads and writes one fleet.
type Client struct {
	config Config
	etcd   *clientv3.Client
}

// Dial returns a client. It connects to nobody yet: that happens beside, and again after each
// failure. Errors are *policy.InputError, of the config or of its files.
func Dial(c Config) (*Client, error) {
	for _, endpoint := range c.Endpoints {
		if err := source.CheckEndpoint(endpoint); err != nil {
			return nil, err
		}
	}
	config, err := c.tls()
	if err != nil {
		return nil, err
	}
	if c.Within == 0 {
		c.Within = answersWithin
	}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints, TLS: config, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		MaxCallRecvMsgSize: largestAnswer,
	})
	if err != nil {
		return nil, &policy.InputError{Where: strings.Join(c.Endpoints, ","), What: err.Error()}
	}
	return &Client{config: c, etcd: etcd}, nil
}

// Close ends the connections.
func (c *Client) Close() { _ = c.etcd.Close() }

// tls returns how c proves who it is; nil is without TLS.
func (c Config) tls() (*tls.Config, error) {
	if !slices.ContainsFunc(c.Endpoints, source.Secret) {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, unreadable(c.CA, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, unreadable(c.CA, errors.New("has no certificate in PEM"))
		}
	}
	if c.Cert != "" {
		load := func() (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			if err != nil {
				return nil, unreadable(c.Cert, err)
			}
			return &certificate, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}

func unreadable(path string, err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return &policy.InputError{Where: path.Path, What: "cannot be read: " + path.Err.Error()}
	}
	return &policy.InputError{Where: path, What: "cannot be read: " + err.Error()}
}

// explain makes of err, of a request, one that says what is wrong and matches ErrUnreachable or
// ErrForbidden. To etcd's client a wrong certificate, a wrong port and a server that hangs are
// all one deadline, so each endpoint is dialled once more to hear what it says.
func (c *Client) explain(err error) error {
	if err == nil {
		return nil
	}
	if isForbidden(err) {
		name := "this certificate"
		if user := c.config.user(); user != "" {
			name = user
		}
		return fmt.Errorf("%w for %s: etcd knows no such user, or he has no role for %s%s/", ErrForbidden, name, root, c.config.Fleet)
	}
	if !isUnreachable(err) {
		return fmt.Errorf("etcd: %w", err)
	}
	said := make([]string, len(c.config.Endpoints))
	done := make(chan struct{})
	for i, endpoint := range c.config.Endpoints {
		go func() {
			said[i] = endpoint + ": " + c.config.knock(endpoint)
			done <- struct{}{}
		}()
	}
	for range said {
		<-done
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, strings.Join(said, "; "))
}

func isForbidden(err error) bool {
	if errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrUserEmpty) || errors.Is(err, rpctypes.ErrUserNotFound) {
		return true
	}
	code := status.Code(err)
	return code == codes.PermissionDenied || code == codes.Unauthenticated
}

func isUnreachable(err error) bool {
	code := status.Code(err)
	return errors.Is(err, context.DeadlineExceeded) || code == codes.Unavailable || code == codes.DeadlineExceeded ||
		errors.Is(err, rpctypes.ErrNoLeader) || errors.Is(err, rpctypes.ErrTimeout)
}

// user is the name in the certificate, for messages; "" is not known.
func (c Config) user() string {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil || pair.Leaf == nil {
		return ""
	}
	return pair.Leaf.Subject.CommonName
}

// knock connects to endpoint and says what is heard there.
func (c Config) knock(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err.Error()
	}
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if u.Scheme == "https" {
		config, err := c.tls()
		if err != nil {
			return err.Error()
		}
		config.ServerName, config.NextProtos = u.Hostname(), []string{"h2"}
		secured := tls.Client(conn, config)
		if err := secured.Handshake(); err != nil {
			return plain(err)
		}
		conn = secured
	}
	// What every client of HTTP/2 says first, and no settings; a server answers with its own.
	_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	frame := make([]byte, 9)
	if _, err := io.ReadFull(conn, frame); err != nil { // with TLS 1.3 a certificate is refused only here
		return plain(err)
	}
	if frame[3] != 4 {
		return "answers, and is no etcd"
	}
	return "is there, and does not answer: perhaps there is no quorum"
}

// plain is err without the addresses that its reader knows.
func plain(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "takes the connection and says nothing"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op.Err.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "hangs up"
	}
	return err.Error()
}

// Prefix is what all keys of the fleet begin with.
func (c *Client) Prefix() string { return c.key("") }
