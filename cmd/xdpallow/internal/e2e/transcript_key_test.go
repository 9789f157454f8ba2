package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: what README tells of a leaked key happens, command by command: behind nginx with the
// config of `assets nginx` it is refused from another customer's network, the alert's metric
// counts it, and the host that used it is stopped at the gate.
func TestTranscriptOfALeakedKey(t *testing.T) {
	t.Parallel()
	steps := transcript(t, readme, "## Whose key is it?\n")
	h := newHost(t)
	if err := h.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	labtest.ServeHTTP(t, h.lab.Host, "127.0.0.1:8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s\n", r.Header.Get("X-Xdpallow-Owner"))
	}))
	dir := openDir(t)
	write(t, filepath.Join(dir, "nginx.conf"), nginxConf(dir, h.nginxAsset(dir, "/run/xdpallow/owner.sock", 443)))
	config := h.config("interfaces: [eth0]\nservices: {api: {ports: [443]}}\nowner: {socket: /run/xdpallow/owner.sock, group: www-data}\n" +
		"allow: [203.0.113.0/24 owner=acme, 192.0.2.0/24 owner=globex]\n")
	m := newMachine(h, netlab.Listed4.String())
	m.does(step{command: "sudo xdpallow run --config " + config + " &", output: []string{
		"xdpallow: eth0: attached (native); tcp/443 open to 2 prefixes", "xdpallow: enforcing: the canary was dropped",
	}})
	m.does(step{command: fmt.Sprintf("nginx -p %s -c %[1]s/nginx.conf &", dir)})
	m.does(step{command: "until [ -S /run/xdpallow/owner.sock ]; do sleep 0.1; done"})
	h.eventually("nginx listens", func() bool {
		outcome, err := h.lab.Wire.Knock(netlab.Listed4, netip.AddrPortFrom(h.link().Host4, 443), patience)
		return err == nil && outcome == netlab.Connected
	})
	for _, s := range steps {
		if _, comment, found := strings.Cut(s.command, "# from "); found {
			m.does(step{command: "export FROM=" + strings.FieldsFunc(comment, func(r rune) bool { return r == ',' || r == ':' })[0]})
		}
		m.does(s)
	}
}
