// Promises guarded here: what is said of replies holds for what name servers really send.

package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// asking is a follower that asks the name server at address.
func asking(address, name string) *resolving {
	r := newResolving(name)
	r.hosts.lookup = newResolver(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}).LookupNetIP
	return r
}

// dnsmasq runs Debian's name server on a free port of loopback, and returns its address.
func dnsmasq(t *testing.T, args ...string) string {
	t.Helper()
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	free.Close()
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.CommandContext(t.Context(), "dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-daemon", "--user=root",
		"--listen-address=127.0.0.1", "--bind-interfaces", "--port=" + port,
	}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make tools installs dnsmasq-base)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("dnsmasq: %s", log.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("dnsmasq does not listen: %v", err)
		}
	}
}

func TestDnsmasqAnswers(t *testing.T) {
	var sixty []string
	for i := range 60 {
		sixty = append(sixty, fmt.Sprintf("--host-record=sixty.example,198.51.100.%d", i+1))
	}
	address := dnsmasq(t, append(sixty, "--local=/example/",
		"--host-record=vpn.branch.example,198.51.100.7,2001:db8::7", "--host-record=vpn.branch.example,198.51.100.8",
		"--host-record=one.example,198.51.100.9", "--cname=alias.example,vpn.branch.example",
		"--host-record=inside.example,10.0.0.5", "--txt-record=text.example,nothing else",
	)...)
	const gone = ": there is no such name, or it has no address"
	for name, want := range map[string][2]string{
		"vpn.branch.example": {"[198.51.100.7 198.51.100.8 2001:db8::7]", ""},
		"alias.example":      {"[198.51.100.7 198.51.100.8 2001:db8::7]", ""},
		"one.example":        {"[198.51.100.9]", ""}, // no AAAA is an answer
		"none.example":       {"", "none.example" + gone},
		"text.example":       {"", "text.example" + gone},
		"inside.example":     {"", "inside.example: A: 10.0.0.5 is private, which needs private: true"},
		"sixty.example":      {"", "sixty.example: A: 60 addresses are over max_entries 32: list the prefixes instead"},
		"other.test":         {"", "other.test: A: server misbehaving (server " + address + ") (and 1 more)"}, // refused: not its zone
	} {
		t.Run(name, func(t *testing.T) {
			addrs, told := asking(address, name).looks(t)
			before, _, _ := strings.Cut(told, " (server ") // Go names that of resolv.conf
			if wanted, _, _ := strings.Cut(want[1], " (server "); addrs != want[0] || before != wanted {
				t.Errorf("handed on %s, told %q; want %s, %q", addrs, told, want[0], want[1])
			}
		})
	}
}

// stub answers queries as reply says, by UDP and TCP, and returns its address. Without an answer
// it is silent.
func stub(t *testing.T, reply func(q dnsmessage.Question, m *dnsmessage.Message, tcp bool) (answers bool)) string {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	answer := func(query []byte, overTCP bool) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
			return nil
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		if !reply(m.Questions[0], &m, overTCP) {
			return nil
		}
		packed, err := m.Pack()
		if err != nil {
			return nil
		}
		return packed
	}
	go func() {
		query := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(query)
			if err != nil {
				return
			}
			if packed := answer(query[:n], false); packed != nil {
				udp.WriteTo(packed, from)
			}
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			var size uint16
			if binary.Read(conn, binary.BigEndian, &size) == nil {
				query := make([]byte, size)
				if _, err := io.ReadFull(conn, query); err == nil {
					packed := answer(query, true)
					conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...))
				}
			}
			conn.Close()
		}
	}()
	return udp.LocalAddr().String()
}

// put adds addresses of q's type to an answer.
func put(m *dnsmessage.Message, q dnsmessage.Question, addrs ...string) {
	for _, text := range addrs {
		addr := netip.MustParseAddr(text)
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
}

// Each row is what a server does after a good answer: nothing is cut off by it.
func TestServerMisbehaves(t *testing.T) {
	const good = "[198.51.100.1 2001:db8::1]"
	failing := func(code dnsmessage.RCode, types ...dnsmessage.Type) func(dnsmessage.Question, *dnsmessage.Message, bool) bool {
		return func(q dnsmessage.Question, m *dnsmessage.Message, _ bool) bool {
			for _, one := range types {
				if q.Type == one {
					m.RCode = code
					return true
				}
			}
			put(m, q, "198.51.100.1", "2001:db8::1")
			return true
		}
	}
	both := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	for name, c := range map[string]struct {
		reply func(dnsmessage.Question, *dnsmessage.Message, bool) bool
		told  string
	}{
		"SERVFAIL":       {failing(dnsmessage.RCodeServerFailure, both...), "A: server misbehaving (and 1 more)"},
		"REFUSED":        {failing(dnsmessage.RCodeRefused, both...), "A: server misbehaving (and 1 more)"},
		"half an answer": {failing(dnsmessage.RCodeServerFailure, dnsmessage.TypeAAAA), "AAAA: server misbehaving"},
		"the other half": {failing(dnsmessage.RCodeServerFailure, dnsmessage.TypeA), "A: server misbehaving"},
		"silence":        {func(dnsmessage.Question, *dnsmessage.Message, bool) bool { return false }, "A: i/o timeout (and 1 more)"},
		"half silence": {func(q dnsmessage.Question, m *dnsmessage.Message, _ bool) bool {
			put(m, q, "198.51.100.1")
			return q.Type == dnsmessage.TypeA
		}, "AAAA: i/o timeout"},
		"sixty, by TCP": {func(q dnsmessage.Question, m *dnsmessage.Message, tcp bool) bool {
			if m.Truncated = !tcp; tcp {
				for i := range 60 {
					put(m, q, fmt.Sprintf("198.51.100.%d", i+1))
				}
			}
			put(m, q, "2001:db8::1")
			return true
		}, "A: 60 addresses are over max_entries 32: list the prefixes instead"},
	} {
		t.Run(name, func(t *testing.T) {
			r := asking(stub(t, failing(0)), branch)
			r.expect(t, good, "")
			again := asking(stub(t, c.reply), branch)
			r.hosts.lookup, r.hosts.patience = again.hosts.lookup, time.Second
			addrs, told := r.looks(t)
			before, rest, _ := strings.Cut(told, " (server ")
			if _, more, found := strings.Cut(rest, ")"); found {
				before += more
			}
			if addrs != "" || before != branch+": "+c.told {
				t.Errorf("handed on %q, told %q; want nothing and %q", addrs, told, c.told)
			}
			if held := r.held(); "["+held+"]" != good {
				t.Errorf("held: %s", held)
			}
		})
	}
}
