package labtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Pair is a certificate with its key, also in PEM.
type Pair struct {
	Certificate     *x509.Certificate
	Key             *ecdsa.PrivateKey
	CertPEM, KeyPEM []byte
}

// TLS returns p for a tls.Config.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key}
}

// Sign makes a certificate for CN=name that is good from yesterday to tomorrow, with a new key. by is who signs it,
// nil itself; such a one may sign others, as one of `openssl req -x509` may. change may change more of it.
func Sign(tb testing.TB, name string, by *Pair, change func(*x509.Certificate)) *Pair {
	tb.Helper()
	key := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(tb)
	serial := Must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126)))(tb)
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: by == nil,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Certificate, by.Key
	}
	der := Must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))(tb)
	text := Must(x509.MarshalPKCS8PrivateKey(key))(tb)
	return &Pair{
		Certificate: Must(x509.ParseCertificate(der))(tb), Key: key,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}),
	}
}
