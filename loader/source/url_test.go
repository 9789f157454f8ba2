// Promises guarded here: a page is taken over as a whole or not at all; whatever the other end
// does, the last good list stays, and the error says what is wrong with the page.

package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// site is a web server with one page, and what a follower made of it.
type site struct {
	*httptest.Server
	serve func(w http.ResponseWriter, r *http.Request)

	asked    int
	readings []Reading
	refuse   error // what take answers
}

// newSite serves pages with TLS. The returned settings follow it.
func newSite(t *testing.T) (*site, Settings) {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked++
		s.serve(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, Settings{Name: "partner", Owner: "partner", URL: s.URL + "/egress.txt", CA: ca, Every: Every, Limits: URLLimits}
}

func (s *site) take(_ context.Context, r Reading) error {
	s.readings = append(s.readings, r)
	return s.refuse
}

// text serves a page, with an ETag if it has one.
func (s *site) text(text, etag string) {
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
			if r.Header.Get("If-None-Match") == etag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		io.WriteString(w, text)
	}
}

func pageOf(s Settings) *page { return New(s).(*page) }

// look looks once, and returns what was handed on.
func (s *site) look(t *testing.T, p *page, kicked bool) []Reading {
	t.Helper()
	s.readings = nil
	p.look(t.Context(), kicked, s.take)
	return s.readings
}

// lines are the claims of a reading, as text.
func lines(claims []policy.Claim) string {
	var text strings.Builder
	for _, c := range claims {
		fmt.Fprintln(&text, policy.FormatLine(c))
	}
	return text.String()
}

// whole is the one reading that has claims.
func whole(t *testing.T, readings []Reading) Reading {
	t.Helper()
	if len(readings) != 1 || readings[0].Err != nil || readings[0].Edit != nil {
		t.Fatalf("handed on: %+v, want claims", readings)
	}
	return readings[0]
}

// unchanged checks that the reading says that all is as before.
func unchanged(t *testing.T, readings []Reading) {
	t.Helper()
	if len(readings) != 1 || readings[0].Err != nil || readings[0].Edit == nil || !readings[0].Edit.Empty() || readings[0].Claims != nil {
		t.Errorf("handed on: %+v, want that nothing changed", readings)
	}
}

func TestPage(t *testing.T) {
	s, settings := newSite(t)
	settings.Services = []string{"api"}
	p := pageOf(settings)
	s.text("\ufeff# egress of partner\r\n203.0.113.7\r\n198.51.100.0/28 # Berlin\r\n203.0.113.7 # again\r\n2001:db8:42::/48 owner=partner\r\n", `"1"`)
	got := whole(t, s.look(t, p, false))
	want := "198.51.100.0/28 owner=partner service=api note=\"Berlin\"\n203.0.113.7/32 owner=partner service=api note=\"again\"\n2001:db8:42::/48 owner=partner service=api\n"
	if lines(got.Claims) != want || got.Origin != "url:partner" || got.Mark != `"1"` || got.Why != "read "+settings.URL {
		t.Errorf("the page was read as %s%+v", lines(got.Claims), got)
	}
	for _, c := range got.Claims {
		if c.Origin != "url:partner" || c.Where != "" {
			t.Errorf("claim %+v", c)
		}
	}
	unchanged(t, s.look(t, p, false)) // by its ETag

	s.text("203.0.113.8\n", `"2"`)
	if got := whole(t, s.look(t, p, false)); lines(got.Claims) != "203.0.113.8/32 owner=partner service=api\n" || got.Mark != `"2"` {
		t.Errorf("the new page was read as %+v", got)
	}
	s.text("# another comment\n203.0.113.8\n", `"3"`)
	unchanged(t, s.look(t, p, false)) // by its claims
	whole(t, s.look(t, p, true))      // somebody asked for it

	t.Run("of a provider", func(t *testing.T) { // no end of the last line
		list, err := os.ReadFile(filepath.Join("testdata", "cloudflare.txt"))
		if err != nil {
			t.Fatal(err)
		}
		s.text(string(list), "")
		if got := whole(t, s.look(t, pageOf(settings), false)); len(got.Claims) != 3 {
			t.Errorf("cloudflare.txt was read as %s", lines(got.Claims))
		}
	})
	t.Run("lines name owners", func(t *testing.T) {
		settings.Owner = AnyOwner
		s.text("203.0.113.8 owner=a service=api\n203.0.113.9\n", "")
		if got := whole(t, s.look(t, pageOf(settings), false)); lines(got.Claims) != "203.0.113.8/32 owner=a service=api\n203.0.113.9/32 service=api\n" {
			t.Errorf("the page was read as %s", lines(got.Claims))
		}
	})
}

// Each row is a page after a good one.
func TestPageIsRefused(t *testing.T) {
	s, settings := newSite(t)
	var packed bytes.Buffer
	bomb := gzip.NewWriter(&packed)
	for range 9 << 10 {
		bomb.Write(bytes.Repeat([]byte("#"), 1023))
		bomb.Write([]byte("\n"))
	}
	bomb.Close()
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "203.0.113.1", code) }
	}
	body := func(text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
	}
	redirect := func(to string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	others := ""
	for i := range 1001 {
		others += fmt.Sprintf("203.0.%d.%d\n", i/250, i%250)
	}
	for name, c := range map[string]struct {
		serve func(http.ResponseWriter, *http.Request)
		want  string
	}{
		"500":             {status(500), ": answers 500 Internal Server Error"},
		"404":             {status(404), ": answers 404 Not Found"},
		"410":             {status(410), ": answers 410 Gone"},
		"206":             {status(206), ": answers 206 Partial Content"},
		"304 unasked":     {status(304), ": answers 304 Not Modified"},
		"HTML":            {body("\n <!DOCTYPE html><title>Log in</title>"), ": is a page of HTML or XML, not a list: perhaps of a login or of an error"},
		"JSON":            {body(`{"a": 1}`), ": is JSON: it needs format: json"},
		"UTF-16":          {body("\xff\xfe1\x000\x00"), ": the text is UTF-16, not UTF-8"},
		"one bad line":    {body("203.0.113.1\n203.0.113.2\nmaintenance\n"), `:3: "maintenance" is not a prefix or an address`},
		"many bad lines":  {body("see below\nor there\nthanks\n"), `:1: "see" is not a prefix or an address (and 2 more)`},
		"everybody":       {body("203.0.113.1\n0.0.0.0/0\n"), ":2: 0.0.0.0/0 is wider than widest /16"},
		"too wide":        {body("198.18.0.0/15\n"), ":1: 198.18.0.0/15 is wider than widest /16"},
		"too wide, IPv6":  {body("2000::/31\n"), ":1: 2000::/31 is wider than widest /32"},
		"private":         {body("203.0.113.1\n\n10.1.0.0/16 # vpn\n"), ":3: 10.1.0.0/16 is private, which needs private: true"},
		"unique local":    {body("fd00::/48\n"), ":1: fd00::/48 is private, which needs private: true"},
		"link-local":      {body("169.254.169.254\n"), ":1: 169.254.169.254/32 is reserved, and nobody's on the Internet"},
		"all of IPv4":     {body("64:ff9b::/96\n"), ":1: 64:ff9b::/96 is reserved, and nobody's on the Internet"},
		"too many":        {body(others), ": 1001 entries are over max_entries 1000"},
		"too large, IPv6": {body("2001:db8::/48\n2001:db8:1::\n"), ": 65537 /64s of IPv6 are over max_addresses 65536"},
		"too large":       {body("203.0.0.0/16\n198.51.100.1\n"), ": 65537 addresses are over max_addresses 65536"},
		"other owner":     {body("203.0.113.1\n203.0.113.2 owner=globex\n"), ":2: owner globex is not partner, whom this origin is for"},
		"directive":       {body("suspend acme\n"), ":1: \"suspend\" is a line of xdpallow export: here it would be lost who is suspended or limited"},
		"bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		}, ": is larger than 8 MiB, unpacked"},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "203.0.113.1\n")
		}, ": cannot be read: unexpected EOF"},
		"redirect off":      {redirect("https://attacker.example/egress.txt"), ": is redirected to https://attacker.example, and only its own host is followed"},
		"redirect to plain": {redirect("http://" + s.Listener.Addr().String() + "/egress.txt"), ""},
		"redirect circle":   {redirect("/egress.txt"), ": is redirected more than 3 times"},
		"silent": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "203.0.113.1\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, ": does not answer within 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			p := pageOf(settings)
			s.text("203.0.113.1\n203.0.113.2\n", `"good"`)
			whole(t, s.look(t, p, false))
			s.serve = c.serve
			if name == "silent" {
				p.patience = 200 * time.Millisecond
			}
			if name == "304 unasked" {
				p.etag = ""
			}
			got := s.look(t, p, false)
			if len(got) != 1 || got[0].Claims != nil || got[0].Edit != nil {
				t.Fatalf("handed on: %+v, want an error", got)
			}
			want := c.want
			if name == "redirect to plain" {
				want = ": is redirected to http://" + s.Listener.Addr().String() + ", and only its own host is followed"
			}
			if input, ok := errors.AsType[*policy.InputError](got[0].Err); !ok || input.Error() != settings.URL+want {
				t.Errorf("error %v, want %s", got[0].Err, settings.URL+want)
			}
			p.patience = answersWithin
			s.text("203.0.113.1\n203.0.113.2\n", `"good"`)
			if got := s.look(t, p, false); len(got) != 1 || got[0].Err != nil {
				t.Errorf("after the good page came back: %+v", got)
			}
		})
	}
}

// Promise: who has not the certificate for the name is not asked for a list.
func TestPageOfAnotherServer(t *testing.T) {
	s, settings := newSite(t)
	s.text("203.0.113.1\n", "")
	settings.CA = ""
	if got := s.look(t, pageOf(settings), false); s.asked > 0 || len(got) != 1 || got[0].Err == nil ||
		!strings.HasPrefix(got[0].Err.Error(), settings.URL+": cannot be read: tls: failed to verify certificate: x509: certificate signed by unknown authority") {
		t.Errorf("asked %d times: %+v", s.asked, got)
	}
	settings.CA = filepath.Join(t.TempDir(), "none.pem")
	if got := s.look(t, pageOf(settings), false); len(got) != 1 || got[0].Err == nil || got[0].Err.Error() != settings.CA+": cannot be read: no such file or directory" {
		t.Errorf("without the file: %+v", got)
	}
	s.Close()
	_, closed := newSite(t)
	closed.URL = settings.URL
	if got := s.look(t, pageOf(closed), false); len(got) != 1 || got[0].Err == nil || !strings.HasSuffix(got[0].Err.Error(), "connect: connection refused") {
		t.Errorf("a server that is down: %+v", got)
	}
}

// A query can hold a secret, and messages and the history are read by many.
func TestPageHidesItsQuery(t *testing.T) {
	s, settings := newSite(t)
	settings.URL += "?token=geheim"
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != "geheim" {
			http.Error(w, "", http.StatusForbidden)
		}
		io.WriteString(w, "203.0.113.1\n")
	}
	p := pageOf(settings)
	good := whole(t, s.look(t, p, false))
	s.text("none\n", "")
	bad := s.look(t, p, false)
	s.Close()
	if text := fmt.Sprintf("%+v %+v %+v", good, bad, s.look(t, p, false)); strings.Contains(text, "geheim") || !strings.Contains(text, "egress.txt?…:1: ") {
		t.Errorf("told: %s", text)
	}
}

func TestPageIsRedirectedOnItsHost(t *testing.T) {
	s, settings := newSite(t)
	s.serve = func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.URL.Path); n < len("/egress.txt123") {
			http.Redirect(w, r, r.URL.Path+"3", http.StatusMovedPermanently)
			return
		}
		io.WriteString(w, "203.0.113.1\n")
	}
	whole(t, s.look(t, pageOf(settings), false))
}

func TestPageWithoutTLSOnLoopback(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "203.0.113.1\n") }))
	defer plain.Close()
	s := &site{}
	whole(t, s.look(t, pageOf(Settings{Name: "a", Owner: "a", URL: plain.URL, Limits: URLLimits}), false))
}

// Promise: a bad page is told of as long as it is there, also when the server says that it has
// not changed.
func TestBadPageStaysBad(t *testing.T) {
	s, settings := newSite(t)
	p := pageOf(settings)
	s.text("0.0.0.0/0\n", `"bad"`)
	for range 2 {
		if got := s.look(t, p, false); len(got) != 1 || got[0].Err == nil {
			t.Errorf("handed on: %+v, want an error", got)
		}
	}
	if s.asked != 2 {
		t.Errorf("asked %d times", s.asked)
	}
}

// Promise: what was refused is not handed on again until the page changes or somebody asks,
// and what failed otherwise is.
func TestRefusedPage(t *testing.T) {
	s, settings := newSite(t)
	for _, etag := range []string{"", `"1"`} {
		p := pageOf(settings)
		s.text("203.0.113.1\n", etag)
		s.refuse = &policy.Refused{What: "9 of 10 prefixes would be removed"}
		whole(t, s.look(t, p, false))
		if got := s.look(t, p, false); got != nil {
			t.Errorf("handed on again: %+v", got)
		}
		whole(t, s.look(t, p, true))
		s.text("203.0.113.2\n", etag+"2")
		whole(t, s.look(t, p, false))

		s.refuse = errors.New("no space left on device")
		whole(t, s.look(t, p, true))
		s.refuse = nil
		whole(t, s.look(t, p, false))
		unchanged(t, s.look(t, p, false))
	}
}

// Promise: with stale, claims end by themselves, and are moved on only when less than half is
// left, whether or not the page has changed.
func TestStalePage(t *testing.T) {
	s, settings := newSite(t)
	settings.Stale = 24 * time.Hour
	p := pageOf(settings)
	s.text("203.0.113.1\n203.0.113.2 until=2027-01-01\n203.0.113.3 until=2026-01-01\n", `"1"`)
	until := func(r Reading) time.Time { return r.Claims[0].Until }
	first := whole(t, s.look(t, p, false))
	if left := time.Until(until(first)); left < 24*time.Hour-2*time.Second || left > 24*time.Hour {
		t.Errorf("ends in %v", left)
	}
	if end := first.Claims[2].Until; !end.Equal(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("a line that ends earlier ends %v", end)
	}
	unchanged(t, s.look(t, p, false))
	if got := whole(t, s.look(t, p, true)); !until(got).Equal(until(first)) {
		t.Errorf("moved on from %v to %v, with nearly all left", until(first), until(got))
	}
	again := pageOf(settings)
	again.recall(first.Claims)
	if got := whole(t, s.look(t, again, false)); !until(got).Equal(until(first)) {
		t.Errorf("a restart moved the end from %v to %v", until(first), until(got))
	}
	shorter := settings
	shorter.Stale = time.Hour
	again = pageOf(shorter)
	again.recall(first.Claims)
	if left := time.Until(until(whole(t, s.look(t, again, false)))); left > time.Hour {
		t.Errorf("with a shorter stale it ends in %v", left)
	}
	p.ends = p.ends.Add(-12 * time.Hour) // as if half a day had passed
	if got := whole(t, s.look(t, p, false)); !until(got).After(until(first).Add(-2 * time.Second)) {
		t.Errorf("not moved on: %v", until(got))
	}
	unchanged(t, s.look(t, p, false))

	// While it cannot be read, nothing moves the end: the kernel will end it.
	p.ends = p.ends.Add(-20 * time.Hour)
	s.serve = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusBadGateway) }
	if got := s.look(t, p, false); len(got) != 1 || got[0].Err == nil || got[0].Claims != nil {
		t.Errorf("handed on: %+v", got)
	}
}

func TestRetryAfter(t *testing.T) {
	s, settings := newSite(t)
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "120": 2 * time.Minute, "99999999": time.Hour,
		"Sat, 28 Nov 2026 12:10:00 GMT": 10 * time.Minute, "Sat, 28 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", header, got, want)
		}
	}
	s.serve = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	after, failed := pageOf(settings).look(t.Context(), false, s.take)
	if after != 90*time.Second || !failed {
		t.Errorf("asked to stay away for %v, failed %v", after, failed)
	}
}
