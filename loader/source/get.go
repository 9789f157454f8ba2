// This file reads a page from its web server, within bounds: neither a slow server, a large
// page nor a redirect to another host may harm this one.

package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// response is what a server said.
type response struct {
	text      []byte
	etag      string
	unchanged bool          // since the page with p.etag
	after     time.Duration // how long the server asks us to stay away
}

// get reads the page. Errors are *policy.InputError.
func (p *page) get(ctx context.Context) (a response, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	wrong := func(format string, args ...any) (response, error) {
		return a, &policy.InputError{Where: p.name(), What: fmt.Sprintf(format, args...)}
	}
	client, err := p.client()
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.settings.URL, nil)
	if err != nil {
		return wrong("cannot be asked for: %v", err)
	}
	req.Header.Set("User-Agent", "xdpallow")
	if p.etag != "" {
		req.Header.Set("If-None-Match", p.etag)
	}
	res, err := client.Do(req)
	if err != nil {
		return wrong("%s", p.unread(err))
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && p.etag != "":
		a.unchanged = true
		return a, nil
	case res.StatusCode != http.StatusOK:
		a.after = retryAfter(res.Header.Get("Retry-After"), time.Now())
		return wrong("answers %s", res.Status)
	}
	a.etag = res.Header.Get("ETag")
	a.text, err = io.ReadAll(io.LimitReader(res.Body, largestPage+1))
	if err == nil {
		err = ctx.Err() // as we hang up, a server can end its half page properly
	}
	if err != nil {
		return wrong("%s", p.unread(err))
	}
	if len(a.text) > largestPage {
		return wrong("is larger than %d MiB, unpacked", largestPage>>20)
	}
	return a, nil
}

// client is made anew for each page: some minutes lie between them, in which neither an open
// connection nor an old certificate is of use.
func (p *page) client() (*http.Client, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if p.settings.CA != "" {
		certificates, err := os.ReadFile(p.settings.CA)
		pool := x509.NewCertPool()
		if err == nil && !pool.AppendCertsFromPEM(certificates) {
			err = errors.New("has no certificate in PEM")
		}
		if err != nil {
			return nil, unreadable(p.settings.CA, err)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		switch {
		case len(via) > mostRedirects:
			return fmt.Errorf("is redirected more than %d times", mostRedirects)
		case req.URL.Host != via[0].URL.Host || !secure(req.URL) || req.URL.Scheme == "http" && via[0].URL.Scheme == "https":
			return fmt.Errorf("is redirected to %s://%s, and only its own host is followed", req.URL.Scheme, req.URL.Host)
		}
		return nil
	}}, nil
}

// unread says why no page came.
func (p *page) unread(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("does not answer within %v", p.patience)
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if strings.HasPrefix(err.Error(), "is redirected") {
		return err.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "cannot be read: " + dns.Error()
	}
	return fmt.Sprintf("cannot be read: %v", err)
}

// retryAfter reads the header: seconds, or a date. It returns 0 for what it cannot read.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return time.Duration(min(max(seconds, 0), int(longest/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}
