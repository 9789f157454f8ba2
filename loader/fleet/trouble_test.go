package fleet

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/fleet/fleettest"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/fleet/layout/layouttest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// troubled waits until the host says what is wrong, and asserts that it has all the same what it had.
func (h *host) troubled(what string, all []policy.Claim, is func(err error) bool) {
	h.t.Helper()
	h.until(what, func() bool { return h.err != nil && is(h.err) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.claims) != len(all) {
		h.t.Errorf("%s: %d entries, want the %d that it had", what, len(h.claims), len(all))
	}
}

func says(text string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), text) }
}

func isA(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func hasCode(code string) func(error) bool {
	return func(err error) bool {
		trouble, ok := errors.AsType[*source.Trouble](err)
		return ok && trouble.Code == code
	}
}

// enableAuth has etcd ask who may what, with the roles that `fleet init` prints.
func enableAuth(c *fleettest.Cluster, users map[string]string) {
	for _, line := range []string{
		"user add root --no-password", "role add root", "user grant-role root root",
		"role add xdpallow-host", "role grant-permission xdpallow-host --prefix=true read /xdpallow/v1/prod/",
		"role grant-permission xdpallow-host --prefix=true readwrite /xdpallow/v1/prod/host/",
		"role grant-permission xdpallow-host --prefix=true readwrite /xdpallow/v1/prod/known/",
		"role add xdpallow-operator", "role grant-permission xdpallow-operator --prefix=true readwrite /xdpallow/v1/prod/",
	} {
		c.Ctl(strings.Fields(line)...)
	}
	for user, role := range users {
		c.Ctl("user", "add", user, "--no-password")
		c.Ctl("user", "grant-role", user, role)
	}
	c.Ctl("auth", "enable")
}

// Promise: a server that takes everything and says nothing, to whom a watch is well for ever, is
// found; the last good list stays, and what was written meanwhile comes when it answers again.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	c, operator, all, h := followed(t, 100, 1)
	c.Members[0].Freeze()
	h.troubled("a hanging server", all, isA(ErrUnreachable))
	c.Members[0].Thaw()
	m := set(t, operator, all[1:])
	h.has(m.Serial, all[1:])
}

// Promise: a revision that etcd has forgotten ends a watch, and costs a host nothing.
func TestCompaction(t *testing.T) {
	t.Parallel()
	c, operator, all, h := followed(t, 100, 1)
	state, err := operator.Read(t.Context(), Main, false)
	if err != nil {
		t.Fatal(err)
	}
	m := set(t, operator, all[1:])
	after, err := operator.Read(t.Context(), Main, false)
	if err != nil {
		t.Fatal(err)
	}
	c.Ctl("compact", fmt.Sprint(after.Revision))
	if _, open := <-operator.Watch(t.Context(), Main, state); open {
		t.Error("a watch of what was compacted goes on")
	}
	h.has(m.Serial, all[1:])
	m = set(t, operator, all[2:])
	h.has(m.Serial, all[2:])
}

// Promise: a role that is taken away, of which a running watch says nothing, is noticed and named;
// a certificate without a user is told so; a host cannot write a list; and with the role back, all
// goes on.
func TestRoles(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 1)
	all := layouttest.Many(100)
	set(t, operator, all)
	enableAuth(c, map[string]string{"web1": "xdpallow-host", "alice": "xdpallow-operator"})
	h := follows(t, settings(c, "web1"), "web1")
	h.has(1, all)
	stranger := follows(t, settings(c, "web2"), "web2")
	stranger.troubled("no user", nil, says("permission denied for web2: etcd knows no such user"))

	// The writes of a host.
	web1 := dial(t, c, "web1")
	_, _, err := web1.Write(t.Context(), Change{List: Main, By: "web1", Command: "fleet add", Edit: func(View) (*Content, error) { return &Content{Claims: layouttest.Many(200)}, nil }})
	if !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "web1") {
		t.Errorf("a host writes a list: %v", err)
	}
	hosts, err := web1.Hosts(t.Context(), Main)
	for err == nil && (len(hosts) != 1 || hosts[0].Serial != 1) && t.Context().Err() == nil {
		time.Sleep(20 * time.Millisecond)
		hosts, err = web1.Hosts(t.Context(), Main)
	}
	if err != nil || hosts[0].Name != "web1" || hosts[0].Silent {
		t.Errorf("its status: %+v, %v", hosts, err)
	}
	alice := dial(t, c, "alice")
	if m := set(t, alice, all[1:]); m.Serial != 2 {
		t.Errorf("an operator writes serial %d", m.Serial)
	}
	h.has(2, all[1:])

	c.Ctl("user", "revoke-role", "web1", "xdpallow-host")
	h.troubled("the role is gone", all[1:], says("permission denied for web1"))
	c.Ctl("user", "grant-role", "web1", "xdpallow-host")
	m := set(t, alice, all)
	h.has(m.Serial, all)
}

// Promise: whatever somebody else, or an accident, puts under the keys is refused with the key, and
// the next good list is taken over.
func TestGarbage(t *testing.T) {
	t.Parallel()
	_, operator, all, h := followed(t, 100, 1)
	const key = "/xdpallow/v1/prod/list/main"
	good := func() string {
		state, err := operator.Read(t.Context(), Main, false)
		if err != nil {
			t.Fatal(err)
		}
		return state.List.Text
	}()
	put := func(key, value string) {
		t.Helper()
		if _, err := operator.etcd.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	put(key, "{")
	h.troubled("no JSON", all, says(key+": is no manifest"))
	put(key, good)
	h.until("the good one", func() bool { return h.err == nil })

	lost, err := layout.NewList(layouttest.Many(50), layout.List{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := layout.Decode(key, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	m.Serial, m.Chunks, m.Entries, m.Sum, m.Delta = 2, lost.Chunks, 50, layout.SumOf(lost.Chunks), nil
	chunk := operator.key("chunk", Main, lost.Chunks[0].Sum)
	put(chunk, "no gzip")
	put(key, string(m.Encode()))
	h.troubled("a broken chunk", all, says("chunk/"+lost.Chunks[0].Sum[:12]+": cannot be unpacked"))
	if _, err := operator.etcd.Delete(t.Context(), chunk); err != nil {
		t.Fatal(err)
	}
	h.Kick()
	h.troubled("a lost chunk", all, says("is not there"))
	put(chunk, string(lost.Packed(lost.Chunks[0].Sum)))
	h.has(2, layouttest.Many(50))

	empty := *m
	empty.Serial, empty.Chunks, empty.Entries, empty.Sum = 3, nil, 0, layout.SumOf(nil)
	put(key, string(empty.Encode()))
	h.troubled("an empty list", layouttest.Many(50), says("nothing is listed there"))
	h.waitsInStatus(operator, 2)
	if _, err := operator.etcd.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	h.troubled("a deleted list", layouttest.Many(50), isA(layout.ErrNoList))
	again := set(t, operator, all) // its serial is over that of the host, which has it no more from etcd
	if again.Serial != 3 {
		t.Errorf("the list is written again as serial %d, and a host has 2", again.Serial)
	}
	h.has(again.Serial, all)
}

// Kick is what reload does.
func (h *host) Kick() { h.follow.Kick() }

// Promise: a cluster that was wiped, or is another one, lets nobody in and shuts nobody out; one that
// was restored from a backup does not let in again who was removed, and the next change is above what
// hosts have.
func TestWipedAndRestored(t *testing.T) {
	t.Parallel()
	c, operator, all, h := followed(t, 100, 1)
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	c.Snapshot(snapshot)
	set(t, operator, all[1:])
	h.has(2, all[1:])

	c.Members[0].Restore(snapshot)
	c.Ready()
	h.troubled("an old backup", all[1:], hasCode("fleet_older"))
	h.waitsInStatus(operator, 2)
	m := set(t, operator, all[2:])
	if m.Serial != 3 {
		t.Errorf("serial %d after a backup, and a host had 2", m.Serial)
	}
	h.has(3, all[2:])

	c.Members[0].Wipe()
	c.Ready()
	h.troubled("a wiped cluster", all[2:], isA(layout.ErrNoList))
	if _, _, err := operator.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, operator, layouttest.Many(7))
	h.troubled("another fleet", all[2:], hasCode("fleet_changed"))
}

// waitsInStatus waits until the host's status has serial.
func (h *host) waitsInStatus(c *Client, serial uint64) {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		hosts, err := c.Hosts(h.t.Context(), Main)
		if err == nil && len(hosts) == 1 && !hosts[0].Silent && hosts[0].Serial == serial {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("the status never has serial %d: %+v, %v", serial, hosts, err)
		}
	}
}

// Promise: a host that was there before its fleet was made follows it, and each change at once.
func TestHostIsThereFirst(t *testing.T) {
	t.Parallel()
	c := fleettest.Start(t, 1)
	h := follows(t, settings(c, "web1"), "web1")
	h.troubled("no fleet yet", nil, isA(layout.ErrNoList))
	operator := dial(t, c, "root")
	if _, made, err := operator.Init(t.Context()); err != nil || !made {
		t.Fatalf("init: made %v, %v", made, err)
	}
	all := layouttest.Many(10)
	set(t, operator, all[:1])
	h.has(1, all[:1])
	h.mu.Lock()
	h.troubles = 0
	h.mu.Unlock()
	for serial := uint64(2); serial < 6; serial++ {
		set(t, operator, all[:serial])
		h.has(serial, all[:serial])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.troubles > 0 {
		t.Errorf("%d changes were refused at first: %v", h.troubles, h.trouble)
	}
}

// Promise: a database that is full refuses changes with etcd's words, and hosts go on.
func TestDatabaseFull(t *testing.T) {
	t.Parallel()
	c, operator, all, h := followed(t, 100, 1, "--quota-backend-bytes", fmt.Sprint(8<<20))
	filler := strings.Repeat("x", 1<<20)
	for i := 0; ; i++ {
		if _, err := operator.etcd.Put(t.Context(), fmt.Sprint("/filler/", i), filler); err != nil {
			break
		}
		if i > 100 {
			t.Fatal("etcd never is full")
		}
	}
	_, _, err := operator.Write(t.Context(), Change{List: Main, By: "x", Command: "x", Edit: func(View) (*Content, error) { return &Content{Claims: layouttest.Many(50)}, nil }})
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Errorf("a full database: %v", err)
	}
	h.Kick()
	h.until("a look", func() bool { return h.err == nil && len(h.claims) == 100 })
	second := follows(t, settings(c, "web2"), "web2")
	second.has(1, all)
}

// Promise: two of three members are lost, and a host keeps its list; one that starts then reads what
// is left; the loss of a leader is not noticed, but by a write that takes longer; nothing is stuck
// when members come back.
func TestMembersAreLost(t *testing.T) {
	t.Parallel()
	c, operator, all, h := followed(t, 100, 3)

	lost := c.Leader()
	lost.Kill()
	m := set(t, operator, all[1:])
	h.has(m.Serial, all[1:])
	lost.Start()
	c.Ready()

	for _, member := range c.Members[:2] {
		member.Kill()
	}
	h.troubled("no quorum", all[1:], isA(ErrUnreachable))
	late := follows(t, settings(c, "web2"), "web2")
	late.has(m.Serial, all[1:]) // from the member that is left
	for _, member := range c.Members[:2] {
		member.Start()
	}
	c.Ready()
	m = set(t, operator, all)
	h.has(m.Serial, all)
	late.has(m.Serial, all)
}

// Promise: why nobody answers is said in words, where etcd's client says "deadline exceeded".
func TestWhyNobodyAnswers(t *testing.T) {
	t.Parallel()
	c, _ := cluster(t, 1)
	foreign := fleettest.NewAuthority(t)
	web := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(web.Close)
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { garbage.Close() })
	go func() {
		for {
			conn, err := garbage.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail.example ESMTP ready, and more than nine bytes\r\n"))
			conn.Close()
		}
	}()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, as the kernel does, and is never read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	c.Renew("old", time.Now().Add(-time.Minute))
	good := ConfigOf(settings(c, "web1"))
	good.Within = time.Second
	with := func(edit func(c *Config)) Config {
		one := good
		edit(&one)
		return one
	}
	for what, test := range map[string]struct {
		config Config
		want   string
	}{
		"nobody listens":         {with(func(c *Config) { c.Endpoints = []string{"https://127.0.0.1:1"} }), "https://127.0.0.1:1: connect: connection refused"},
		"foreign CA of server":   {with(func(c *Config) { c.CA = foreign.CA }), "certificate signed by unknown authority"},
		"foreign CA of client":   {with(func(c *Config) { c.Cert, c.Key = foreign.Certificate("web1") }), "remote error: tls: "},
		"expired":                {with(func(c2 *Config) { c2.Cert, c2.Key = c.Certificate("old") }), "remote error: tls: "},
		"no certificate":         {with(func(c *Config) { c.Cert, c.Key = "", "" }), "remote error: tls: "},
		"a web server":           {with(func(c *Config) { c.Endpoints = []string{web.URL} }), "tls: no application protocol"},
		"garbage instead of TLS": {with(func(c *Config) { c.Endpoints = []string{"https://" + garbage.Addr().String()} }), "tls: first record does not look like a TLS handshake"},
		"garbage":                {with(func(c *Config) { c.Endpoints = []string{"http://" + garbage.Addr().String()} }), "answers, and is no etcd"},
		"silence":                {with(func(c *Config) { c.Endpoints = []string{"http://" + silent.Addr().String()} }), "takes the connection and says nothing"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			client, err := Dial(test.config)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, err = client.Read(t.Context(), Main, false)
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.config.Endpoints[0]) {
				t.Errorf("says %v, want %s", err, test.want)
			}
		})
	}
	for what, config := range map[string]Config{
		"no CA":   with(func(c *Config) { c.CA = "/nowhere/ca.pem" }),
		"no key":  with(func(c *Config) { c.Key = "/nowhere/key.pem" }),
		"no TLS":  with(func(c *Config) { c.Endpoints = []string{"http://192.0.2.1:2379"} }),
		"CA: key": with(func(c *Config) { c.CA = c.Key }),
	} {
		if _, err := Dial(config); err == nil || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Promise: a certificate is renewed without a restart, also one that had ended meanwhile.
func TestCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	c, operator, all, h := followed(t, 100, 1)
	c.Renew("server", time.Now().Add(time.Hour))
	c.Renew("web1", time.Now().Add(-time.Minute))
	c.Members[0].Kill()
	c.Members[0].Start()
	c.Ready()
	h.troubled("its certificate has ended", all, says("remote error: tls: "))
	c.Renew("web1", time.Now().Add(time.Hour))
	m := set(t, operator, all[1:])
	h.has(m.Serial, all[1:])
}
