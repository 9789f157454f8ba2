// Package owner is the endpoint that a proxy asks for each request: whose address is it, and
// may it use the service? So a key that was stolen is refused from another customer's network,
// and who was suspended is refused on a connection that is open already.
package owner

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Engine knows the list, and shows events. Ownership must not wait for anything: every request
// to the API does.
type Engine interface {
	Ownership(addr netip.Addr, service, expected string) (api.Ownership, bool)
	Tell(events.Event)
}

// The headers. Those of an answer are there in each one: a proxy that copies a header which is
// missing would leave the client's own in place.
const (
	headerOwner    = "X-Xdpallow-Owner"
	headerPrefix   = "X-Xdpallow-Prefix"
	headerReason   = "X-Xdpallow-Reason"
	headerVerdict  = "X-Xdpallow-Verdict" // under audit only
	headerExpect   = "X-Xdpallow-Expect"  // of a request: whose key it has
	headerForwards = "X-Forwarded-For"
)

// The paths, which the name of a service follows. Envoy asks by a client of its own, which
// appends Envoy's address to X-Forwarded-For: by the rule for all others everybody would be local.
const (
	path      = "/v1/owner/"
	pathEnvoy = "/v1/owner-envoy/"
)

// Handler answers.
type Handler struct {
	engine Engine
	checks checks
	own    ownAddresses
	alarm  alarm

	mistakes sync.Map // [2]string{service, reason} → true: told of
}

// NewHandler returns a handler that answers from engine.
func NewHandler(engine Engine) *Handler { return &Handler{engine: engine} }

// ServeHTTP answers any method at /v1/owner/SERVICE, and below that: Envoy appends the client's
// path. http.ServeMux would redirect a path with // or .. in it, and the proxy would refuse it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	find := h.last
	rest, found := strings.CutPrefix(r.URL.Path, path)
	if !found {
		find = first
		rest, found = strings.CutPrefix(r.URL.Path, pathEnvoy)
	}
	service := ""
	if found {
		service, _, _ = strings.Cut(rest, "/")
	}
	asked := service
	addr, readable := find(r.Header.Values(headerForwards))
	expected := expectation(r.Header)
	o, known := h.engine.Ownership(addr, service, expected)
	status := http.StatusForbidden
	switch {
	case !known:
		service, o.Reason, status = api.NoOwner, api.ReasonNoService, http.StatusNotFound
	case !readable:
		o, status = api.Ownership{Reason: api.ReasonNoAddress}, http.StatusBadRequest
	case h.own.has(addr):
		o, status = api.Ownership{Reason: api.ReasonLocal}, http.StatusOK
	case o.Audit || o.Reason == policy.ReasonListed:
		status = http.StatusOK // never 204: Envoy lets nothing else pass
	}
	h.checks.count(service, o.Reason)
	switch o.Reason {
	case api.ReasonWrongOwner:
		h.alarm.ring(h.engine, addr, service, expected, o)
	case api.ReasonNoService, api.ReasonNoAddress:
		h.mistake(service, asked, o.Reason)
	}
	answer(w, status, o)
}

// answer writes o, without a body.
func answer(w http.ResponseWriter, status int, o api.Ownership) {
	owner, prefix := api.NoOwner, api.NoOwner
	if status == http.StatusOK {
		owner = cmp.Or(o.Owner, api.NoOwner)
		if o.Prefix.IsValid() {
			prefix = o.Prefix.String()
		}
		if o.Audit && o.Reason != policy.ReasonListed {
			w.Header().Set(headerVerdict, string(policy.Audit))
		}
	}
	w.Header().Set(headerOwner, owner)
	w.Header().Set(headerPrefix, prefix)
	w.Header().Set(headerReason, o.Reason)
	w.WriteHeader(status)
}

// last returns the address that the proxy itself saw: the last element of the last
// X-Forwarded-For. All that stands before it, the query and the rest of the path may be the
// client's own words. A chain that ends with an address of this host is one that a proxy here
// has passed on and appended itself to: it cannot be told who in it is believed.
func (h *Handler) last(forwards []string) (netip.Addr, bool) {
	if len(forwards) == 0 {
		return netip.Addr{}, false
	}
	elements := strings.Split(forwards[len(forwards)-1], ",")
	addr, err := netip.ParseAddr(strings.TrimSpace(elements[len(elements)-1]))
	chained := len(elements) > 1 || len(forwards) > 1
	return addr.Unmap(), err == nil && !(chained && h.own.has(addr.Unmap()))
}

// first returns the address that Envoy saw and was told to send alone; what it appends itself
// comes after it. Of a longer chain the first element is the client's own word.
func first(forwards []string) (netip.Addr, bool) {
	elements := strings.Split(strings.Join(forwards, ","), ",")
	addr, err := netip.ParseAddr(strings.TrimSpace(elements[0]))
	return addr.Unmap(), err == nil && len(elements) <= 2
}

// expectation is the owner whose key the request has, as the proxy says; "" is nobody in
// particular. More than one cannot be met: a client may have sent the other.
func expectation(header http.Header) string {
	return strings.TrimSpace(strings.Join(header.Values(headerExpect), ","))
}
