package main

// This file is a proxy on the machine, which asks whose address it is over every restart of the daemon.

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// ownerAsker is the name under which the test binary plays the proxy.
const ownerAsker = "ownerasker"

// askOwner asks the owner endpoint at a socket for ever, on a connection a question. It prints a
// line for each answer, which is "acme" if it is the right one.
func askOwner(socket string) {
	client := http.Client{Timeout: commandLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for {
		request, err := http.NewRequest(http.MethodGet, "http://owner/v1/owner/api", nil)
		if err != nil {
			panic(err)
		}
		request.Header.Set("X-Forwarded-For", "203.0.113.9")
		response, err := client.Do(request)
		if err != nil {
			fmt.Fprintln(os.Stdout, err)
		} else {
			response.Body.Close()
			fmt.Fprintln(os.Stdout, response.Header.Get("X-Xdpallow-Owner"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// asked restarts the daemon under a proxy that asks it, by the unit that is shipped and by one that
// has only what README asks of it, and the drop-in. It shows that systemd keeps the socket: no question fails.
func (m *machine) asked(t *testing.T) {
	const (
		config = "/etc/xdpallow/config.yaml"
		socket = "/run/xdpallow/owner.sock"
		units  = "/etc/systemd/system"
		more   = "enough=$(($(wc -l <asked) + 20))"
	)
	m.must(t, "cp "+config+" saved && echo 'owner: {socket: "+socket+", group: www-data}' >>"+config)
	m.must(t, "ln -sf "+apiServer+" /usr/local/bin/"+ownerAsker+" && mkdir -p "+units+"/own.service.d && xdpallow assets owner-dropin >"+units+"/own.service.d/owner.conf")
	m.must(t, `printf '[Service]\nType=notify\nExecStart=/usr/bin/xdpallow run --config `+config+`\n' >`+units+"/own.service && systemctl daemon-reload")
	for _, unit := range []string{"xdpallow", "own"} {
		m.must(t, "systemctl stop xdpallow && systemctl restart "+unit+" || { systemctl status -l --no-pager "+unit+"; false; }")
		m.eventually(t, "[ -S "+socket+" ] && [ $(stat -c %G "+socket+") = www-data ]")
		m.must(t, "runuser -u www-data -- "+ownerAsker+" "+socket+" >asked 2>asked.err &")
		m.must(t, more)
		m.eventually(t, "[ $(wc -l <asked) -gt $enough ]")
		m.must(t, "systemctl restart "+unit+" && "+more)
		m.eventually(t, "[ $(wc -l <asked) -gt $enough ]")
		m.must(t, "pkill -x "+ownerAsker)
		if out := m.must(t, "sort asked | uniq -c"); len(strings.Fields(out)) != 2 || !strings.HasSuffix(strings.TrimSpace(out), " acme") {
			t.Errorf("%s: a question failed while the daemon was restarted:\n%s", unit, out)
		}
	}
	m.must(t, "systemctl stop own && rm -r "+units+"/own.service "+units+"/own.service.d && mv saved "+config+" && systemctl daemon-reload && systemctl start xdpallow")
}
