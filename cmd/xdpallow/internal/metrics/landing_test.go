package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Promise: the page says whether the gate enforces and what is wrong, and nothing that would
// help a stranger: no address, no customer, no interface. It needs no script and loads nothing.
func TestLanding(t *testing.T) {
	show := func(status api.Status, err error) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		Landing(func(context.Context) (api.Status, error) { return status, err }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w
	}
	good := show(api.Status{Enforcing: true, Version: "v1.2.3"}, nil)
	for _, want := range []string{"<h1>xdpallow</h1>", "v1.2.3", `<span class="yes">yes</span>`, "<dd>none</dd>", `<a href="metrics">`} {
		if !strings.Contains(good.Body.String(), want) {
			t.Errorf("no %q on the page:\n%s", want, good.Body)
		}
	}
	bad := show(api.Status{
		Version: "<script>", Interfaces: []api.Interface{{Name: "eth7"}},
		Problems: []api.Problem{
			{Code: "mtu", Subject: "eth7", Text: "203.0.113.9 of acme"}, {Code: "canary", Subject: "2001:db8::1"}, {Code: "mtu", Subject: "eth8"},
		},
	}, nil)
	text := bad.Body.String()
	if !strings.Contains(text, `<span class="no">no</span>`) || !strings.Contains(text, `<span class="no">canary</span>, <span class="no">mtu</span></dd>`) {
		t.Errorf("the page does not say what is wrong:\n%s", text)
	}
	if found := regexp.MustCompile(`eth\d|acme|\d+\.\d+\.\d+\.\d+|2001:|<script|src=|http:|url\(`).FindString(text); found != "" {
		t.Errorf("%q is on the page:\n%s", found, text)
	}
	if policy := bad.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %q", policy)
	}
	if w := show(api.Status{}, errors.New("of 203.0.113.9")); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "203") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
