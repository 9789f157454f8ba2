package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: the requests that Envoy and Traefik make with the configs of `assets`, as their
// documentation and Envoy's source have them, are answered so that they let in customers alone.
// Debian has neither, so their requests are replayed: Envoy sends the client's method and path
// and its own address behind the client's, and lets only 200 pass; Traefik sends all headers of
// the client, and a GET.
func TestEnvoyAndTraefikReplayed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var envoy struct {
		Filters []struct {
			Config struct {
				Service struct {
					Prefix  string `yaml:"path_prefix"`
					Request struct {
						Add []struct{ Key, Value string } `yaml:"headers_to_add"`
					} `yaml:"authorization_request"`
				} `yaml:"http_service"`
			} `yaml:"typed_config"`
		} `yaml:"http_filters"`
	}
	var traefik struct {
		HTTP struct {
			Middlewares map[string]struct {
				ForwardAuth struct{ Address string } `yaml:"forwardAuth"`
				Headers     struct {
					Request map[string]string `yaml:"customRequestHeaders"`
				}
			}
		}
	}
	for name, into := range map[string]any{"envoy": &envoy, "traefik": &traefik} {
		if err := yaml.Unmarshal([]byte(s.must("assets", name)), into); err != nil {
			t.Fatalf("assets %s: %v", name, err)
		}
	}
	service := envoy.Filters[0].Config.Service
	if add := service.Request.Add; len(add) != 1 || add[0].Key != "X-Forwarded-For" || add[0].Value != "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%" {
		t.Fatalf("headers_to_add: %+v", add)
	}
	address, found := strings.CutPrefix(traefik.HTTP.Middlewares["xdpallow"].ForwardAuth.Address, "http://"+s.tcp)
	if !found {
		t.Fatalf("traefik asks %q", traefik.HTTP.Middlewares["xdpallow"].ForwardAuth.Address)
	}
	for _, name := range []string{"Owner", "Prefix", "Reason", "Verdict", "Expect"} {
		if empty, there := traefik.HTTP.Middlewares["xdpallow-strip"].Headers.Request["X-Xdpallow-"+name]; empty != "" || !there {
			t.Errorf("traefik passes X-Xdpallow-%s of the client on", name)
		}
	}
	ask := func(network, at, request string) (status int, owner string) {
		t.Helper()
		var conn net.Conn
		if err := s.lab.Host.Do(func() (err error) { conn, err = net.Dial(network, at); return err }); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return statusAndOwner(t, conn, request)
	}
	for _, c := range []struct {
		from   string
		status int
		owner  string
	}{{"203.0.113.7", 200, "acme"}, {"192.0.2.7", 200, "globex"}, {"198.51.100.7", 403, "-"}} {
		for _, path := range []string{"/", "/a//b?addr=203.0.113.7", "/../../v1/owner/api", "/%2e%2e/mail"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				// 10.80.0.1 stands for the address of Envoy's host.
				status, owner := ask("unix", s.socket(), fmt.Sprintf(
					"%s %s%s HTTP/1.1\r\nhost: api.example.net\r\ncontent-length: 0\r\nx-forwarded-for: %s,%s\r\nx-envoy-internal: true\r\nx-envoy-expected-rq-timeout-ms: 3000\r\n\r\n",
					method, strings.TrimSuffix(service.Prefix, "/"), path, c.from, s.link().Host4))
				if path == "/" && !strings.HasSuffix(service.Prefix, "/") {
					t.Error("the client's path could lengthen the name of the service")
				}
				if status != c.status || owner != c.owner {
					t.Errorf("envoy, %s %s from %s: %d %s, want %d %s", method, path, c.from, status, owner, c.status, c.owner)
				}
			}
			status, owner := ask("tcp", s.tcp, fmt.Sprintf(
				"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: curl/8\r\nCookie: a=b\r\nX-Forwarded-For: %s\r\nX-Forwarded-Host: api.example.net\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Uri: %s\r\nX-Real-Ip: 203.0.113.7\r\nAccept-Encoding: gzip\r\n\r\n",
				address, s.tcp, c.from, path))
			if status != c.status || owner != c.owner {
				t.Errorf("traefik, %s from %s: %d %s, want %d %s", path, c.from, status, owner, c.status, c.owner)
			}
		}
	}
}

// statusAndOwner sends request as it stands and reads the answer.
func statusAndOwner(t *testing.T, conn net.Conn, request string) (int, string) {
	t.Helper()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	response := labtest.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	response.Body.Close()
	return response.StatusCode, response.Header.Get("X-Xdpallow-Owner")
}
