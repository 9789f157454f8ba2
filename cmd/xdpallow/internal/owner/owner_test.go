package owner

// Promises guarded here: the address comes from what the proxy itself saw and from nothing that
// a client can write; every answer has all headers and no body; only 200 lets a request pass;
// a key that is used from another's address is told of, ten times a minute at most.

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// list is an engine with the services api, and off, which is in audit. acme has a network.
type list struct {
	mu   sync.Mutex
	told []events.Event
}

var acme = netip.MustParsePrefix("203.0.113.0/24")

func (l *list) Ownership(addr netip.Addr, service, expected string) (api.Ownership, bool) {
	o := api.Ownership{Reason: policy.ReasonNotListed, Audit: service == "off"}
	if acme.Contains(addr) {
		o = api.Ownership{Owner: "acme", Prefix: acme, Reason: policy.ReasonListed, Audit: o.Audit}
		if expected != "" && expected != o.Owner {
			o.Reason = api.ReasonWrongOwner
		}
	}
	return o, service == "api" || service == "off"
}

func (l *list) Tell(e events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, e)
}

// endpoint serves a handler over TCP, as proxies ask it.
func endpoint(t *testing.T) (*Handler, *list, string) {
	t.Helper()
	engine := new(list)
	h := NewHandler(engine)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return h, engine, server.URL
}

// ask returns status, owner, prefix, reason and verdict; it fails the test if there is a body, or
// a header is missing.
func ask(t *testing.T, method, url string, header http.Header) (status int, said [4]string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	if header == nil {
		r.Header = http.Header{}
	}
	answer, err := http.DefaultTransport.RoundTrip(r) // a client would follow a redirect
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || len(body) > 0 {
		t.Errorf("%s %s: a body %q, %v", method, url, body, err)
	}
	for i, name := range []string{headerOwner, headerPrefix, headerReason, headerVerdict} {
		if said[i] = answer.Header.Get(name); said[i] == "" && name != headerVerdict {
			t.Errorf("%s %s %v: no %s", method, url, header, name)
		}
	}
	return answer.StatusCode, said
}

func from(addresses ...string) http.Header { return http.Header{headerForwards: addresses} }

func TestAnswers(t *testing.T) {
	_, _, url := endpoint(t)
	with := func(expected ...string) http.Header {
		h := from("203.0.113.9")
		h[headerExpect] = expected
		return h
	}
	listed := [4]string{"acme", "203.0.113.0/24", "listed"}
	stranger := [4]string{"-", "-", "not_listed"}
	mute := [4]string{"-", "-", "no_address"}
	wrong := [4]string{"-", "-", "wrong_owner"}
	for _, c := range []struct {
		path   string
		header http.Header
		status int
		said   [4]string
	}{
		{"/v1/owner/api", from("203.0.113.9"), 200, listed},
		{"/v1/owner/api", from("::ffff:203.0.113.9"), 200, listed},
		{"/v1/owner/api", from("198.51.100.1"), 403, stranger},
		// A client writes what comes before the last element, the query, and with Envoy the path.
		{"/v1/owner/api", from("203.0.113.9, 198.51.100.1"), 403, stranger},
		{"/v1/owner/api", from("203.0.113.9", "198.51.100.1"), 403, stranger},
		{"/v1/owner/api", from("198.51.100.1", "10.0.0.1,203.0.113.9"), 200, listed},
		{"/v1/owner/api?addr=203.0.113.9", from("198.51.100.1"), 403, stranger},
		{"/v1/owner/api?addr=203.0.113.9&X-Forwarded-For=203.0.113.9", nil, 400, mute},
		{"/v1/owner/api/203.0.113.9", from("198.51.100.1"), 403, stranger},
		{"/v1/owner/api//v1/owner/off/../x?y#z", from("198.51.100.1"), 403, stranger},
		{"/v1/owner/api/../off", from("198.51.100.1"), 403, stranger},
		{"/v1/owner/api/", from("203.0.113.9"), 200, listed},
		// Envoy appends its own address, perhaps one day no more; a longer chain is the client's.
		{"/v1/owner-envoy/api//x", from("203.0.113.9, 127.0.0.1"), 200, listed},
		{"/v1/owner-envoy/api/x?y", from("203.0.113.9,172.17.0.2"), 200, listed},
		{"/v1/owner-envoy/api/", from("203.0.113.9"), 200, listed},
		{"/v1/owner-envoy/api/", from("198.51.100.1,127.0.0.1"), 403, stranger},
		{"/v1/owner-envoy/api/", from("203.0.113.9,198.51.100.1,127.0.0.1"), 400, mute},
		{"/v1/owner-envoy/api/", from("203.0.113.9", "198.51.100.1", "127.0.0.1"), 400, mute},
		{"/v1/owner-envoy/api/", from("203.0.113.9,198.51.100.1", "127.0.0.1"), 400, mute},
		{"/v1/owner-envoy/api/?addr=203.0.113.9", nil, 400, mute},
		// Elsewhere nobody is local because a proxy of this host stands at the end of a chain.
		{"/v1/owner/api", from("198.51.100.1, 127.0.0.1"), 400, mute},
		{"/v1/owner/api", from("198.51.100.1", "127.0.0.1"), 400, mute},
		{"/v1/owner/api", from("203.0.113.9, ::1"), 400, mute},
		// What cannot be read is not guessed.
		{"/v1/owner/api", nil, 400, mute},
		{"/v1/owner/api", from(""), 400, mute},
		{"/v1/owner/api", from("203.0.113.9,"), 400, mute},
		{"/v1/owner/api", from("unix:"), 400, mute},
		{"/v1/owner/api", from("203.0.113.9:1234"), 400, mute},
		{"/v1/owner/api", from("acme"), 400, mute},
		{"/v1/owner/mail", from("203.0.113.9"), 404, [4]string{"-", "-", "no_service"}},
		{"/v1/owner/", from("203.0.113.9"), 404, [4]string{"-", "-", "no_service"}},
		{"/api", from("203.0.113.9"), 404, [4]string{"-", "-", "no_service"}},
		// Whose key it is.
		{"/v1/owner/api", with("acme"), 200, listed},
		{"/v1/owner/api", with(""), 200, listed},
		{"/v1/owner/api", with("globex"), 403, wrong},
		{"/v1/owner/api", with("acme", "globex"), 403, wrong}, // one of them is the client's
		// An audit lets everybody in, and says so.
		{"/v1/owner/off", from("198.51.100.1"), 200, [4]string{"-", "-", "not_listed", "audit"}},
		{"/v1/owner/off", from("203.0.113.9"), 200, listed},
		{"/v1/owner/off", with("globex"), 200, [4]string{"acme", "203.0.113.0/24", "wrong_owner", "audit"}},
		{"/v1/owner/off", nil, 400, mute},
		// The host itself.
		{"/v1/owner/api", from("127.0.0.1"), 200, [4]string{"-", "-", "local"}},
		{"/v1/owner/api", from("::1"), 200, [4]string{"-", "-", "local"}},
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS", "PURGE"} {
			if status, said := ask(t, method, url+c.path, c.header); status != c.status || said != c.said {
				t.Errorf("%s %s %v: %d %q, want %d %q", method, c.path, c.header, status, said, c.status, c.said)
			}
		}
	}
}

// An address that the host got a moment ago is its own, and one that it lost is not.
func TestOwnAddresses(t *testing.T) {
	own, err := interfaceAddresses()
	if err != nil || !own[netip.MustParseAddr("127.0.0.1")] {
		t.Fatalf("the addresses of this host are %v, %v", own, err)
	}
	var o ownAddresses
	gone := netip.MustParseAddr("192.0.2.77")
	old := map[netip.Addr]bool{gone: true}
	o.known.Store(&old) // read long ago
	if o.has(gone) || len(*o.known.Load()) != len(own) {
		t.Errorf("an address that the host has no longer is still its own, among %v", *o.known.Load())
	}
}

func TestChecks(t *testing.T) {
	h, _, url := endpoint(t)
	ask(t, "GET", url+"/v1/owner/api", from("203.0.113.9"))
	ask(t, "GET", url+"/v1/owner/api", from("203.0.113.9"))
	ask(t, "GET", url+"/v1/owner/api", nil)
	for i := range 100 { // a client cannot make series
		ask(t, "GET", fmt.Sprintf("%s/v1/owner/%d", url, i), from("203.0.113.9"))
	}
	all := h.Checks([]policy.Service{{Name: "api"}})
	for check, there := range map[api.OwnerCheck]bool{
		{Service: "api", Reason: "listed", Answers: 2}:     true,
		{Service: "api", Reason: "no_address", Answers: 1}: true,
		{Service: "api", Reason: "wrong_owner"}:            true, // before the first
		{Service: "-", Reason: "no_service", Answers: 100}: true,
	} {
		if slices.Contains(all, check) != there {
			t.Errorf("%+v is not among %+v", check, all)
		}
	}
	if len(all) != len(reasons)+1 {
		t.Errorf("%d series, want %d", len(all), len(reasons)+1)
	}
}

func TestAlarm(t *testing.T) {
	_, engine, url := endpoint(t)
	header := from("203.0.113.9")
	header.Set(headerExpect, "globex")
	for range 3 * alarmsMost {
		ask(t, "GET", url+"/v1/owner/api", header)
	}
	if len(engine.told) != alarmsMost {
		t.Fatalf("%d are told of, want %d in a minute", len(engine.told), alarmsMost)
	}
	if e := engine.told[0]; e.Reason != "wrong_owner" || e.Verdict != "drop" || e.Source.String() != "203.0.113.9" || e.Service != "api" || e.Owner != "acme" || e.Expected != "globex" || e.Family != "ipv4" {
		t.Errorf("told is %+v", e)
	}
	var a alarm
	first, room := a.room(a.since.AddDate(2000, 0, 0))
	for range alarmsMost + 6 {
		a.room(a.since)
	}
	more, again := a.room(a.since.AddDate(0, 0, 1))
	if first != 0 || !room || more != 7 || !again {
		t.Errorf("first: %d, %v; in the next minute: %d more, %v; want 0, true, 7, true", first, room, more, again)
	}
}
