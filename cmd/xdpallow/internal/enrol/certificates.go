package enrol

// This file knows who may show which certificate. It looks at the files at each handshake: a certificate that
// was put there counts at once, and one that was taken away counts no longer.

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/enrol"
)

const (
	suffix = ".pem"
	// authorities is the file with certificates of authorities.
	authorities = enrol.Authorities + suffix
	// maxFile is how large a file may be, in bytes.
	maxFile = 1 << 20
)

// clients are the certificates in a directory.
//
// OWNER.pem has those of one owner, and they count as they are: one that he signed with one of them does not,
// whatever it says. `openssl req -x509` makes certificates that may sign others, by which each customer
// could be every customer.
type clients struct {
	dir string

	mu     sync.Mutex
	stamp  string                       // of the files that were read
	owners map[[sha256.Size]byte]string // by certificate
	roots  *x509.CertPool               // of authorities
}

var errUnknown = errors.New("it is not among the certificates of any customer")

// owner returns whose the first of chain is, which the other end has shown to have the key of.
func (c *clients) owner(chain []*x509.Certificate, now time.Time) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	shown := chain[0]
	if owner, found := c.owners[sha256.Sum256(shown.Raw)]; found {
		if now.Before(shown.NotBefore) || now.After(shown.NotAfter) {
			return "", fmt.Errorf("it is good from %s to %s", shown.NotBefore.Format(time.RFC3339), shown.NotAfter.Format(time.RFC3339))
		}
		return owner, nil
	}
	if c.roots == nil {
		return "", errUnknown
	}
	between := x509.NewCertPool()
	for _, one := range chain[1:] {
		between.AddCert(one)
	}
	_, err := shown.Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return shown.Subject.CommonName, err
}

// refresh reads the files if they have changed. An unreadable directory authorises nobody.
func (c *clients) refresh() {
	stamp, names, bad, err := stampOf(c.dir)
	if err != nil {
		stamp, names, bad = err.Error(), nil, []error{err}
	}
	if c.owners != nil && stamp == c.stamp {
		return
	}
	c.stamp, c.owners, c.roots = stamp, map[[sha256.Size]byte]string{}, nil
	for _, name := range names {
		if err := c.read(name); err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", filepath.Join(c.dir, name), err))
		}
	}
	for _, err := range bad {
		slog.Error(fmt.Sprintf("not taken over: %v", err))
	}
	authority := ""
	if c.roots != nil {
		authority = ", and authorities who may name anybody"
	}
	slog.Info(fmt.Sprintf("%s: %d certificates of customers%s", c.dir, len(c.owners), authority))
}

// read takes a file over, as a whole or not at all.
func (c *clients) read(name string) error {
	text, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return err
	}
	all, err := parse(text)
	if err != nil {
		return err
	}
	if name == authorities {
		c.roots = x509.NewCertPool()
		for _, one := range all {
			c.roots.AddCert(one)
		}
		return nil
	}
	owner := strings.TrimSuffix(name, suffix)
	for _, one := range all {
		if cn := one.Subject.CommonName; cn != owner {
			return fmt.Errorf("a certificate there is for CN=%.64q, and the file is that of %s", cn, owner)
		}
	}
	for _, one := range all {
		c.owners[sha256.Sum256(one.Raw)] = owner
	}
	return nil
}

func parse(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("there is a private key, which belongs to the customer alone: have him make another one")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate (PEM)")
	}
	return all, nil
}

// stampOf returns the certificate files of dir, those of them that are none, and what is another text when one of
// them is another file or was written to.
func stampOf(dir string) (stamp string, names []string, bad []error, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, suffix) || strings.HasPrefix(name, ".") {
			continue
		}
		one, err := stampFile(filepath.Join(dir, name))
		if err != nil {
			bad = append(bad, err)
			one = err.Error()
		} else {
			names = append(names, name)
		}
		stamp += one
	}
	return stamp, names, bad, err
}
