package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Promise: eight who ask a daemon of 100,000 entries for the list and read nothing cost it hardly
// anything, also when that list is replaced meanwhile: it keeps the list for two of them, and tells the
// others so. Changes and other questions go on.
func TestReadersWhoDoNotRead(t *testing.T) {
	t.Parallel()
	const entries, askers, served = 100_000, 8, 2
	h := newHost(t)
	d := h.run("--allow-empty")
	list := func(network int) string {
		var text strings.Builder
		for i := range entries {
			fmt.Fprintf(&text, "%d.%d.%d.%d owner=o%d\n", network, i>>16, i>>8&0xff, i&0xff, i%400)
		}
		return text.String()
	}
	h.fed(list(10), "replace", "-", "-q")
	h.fed(list(11), "replace", "-", "-q", "--force-shrink")
	before := d.memory("RssAnon")
	var asking []net.Conn
	for range askers {
		conn, err := net.Dial("unix", h.socket())
		h.check(err)
		t.Cleanup(func() { conn.Close() })
		_, err = fmt.Fprintf(conn, "GET /v1/entries?format=text HTTP/1.1\r\nHost: xdpallow\r\n\r\n")
		h.check(err)
		asking = append(asking, conn)
	}
	h.eventually("two are served", func() bool { return strings.Contains(h.cli("list", "-o", "text").stderr, "2 lists are being read") })
	h.fed(list(12), "replace", "-", "-q", "--force-shrink")
	h.must("add", "192.0.2.7")
	h.must("check", "192.0.2.7")
	after := d.memory("RssAnon")
	t.Logf("%d KiB before, %d KiB with %d readers of a list that was replaced", before, after, askers)
	if after > before*3/2 {
		t.Errorf("%d KiB have become %d", before, after)
	}
	told, whole := 0, 0
	for _, conn := range asking {
		h.check(conn.SetDeadline(time.Now().Add(patience)))
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		for err == nil && answer.StatusCode == http.StatusProcessing { // it says that it works
			answer, err = http.ReadResponse(in, nil)
		}
		h.check(err)
		text, err := io.ReadAll(answer.Body)
		h.check(err)
		switch {
		case answer.StatusCode == http.StatusOK && strings.Count(string(text), "\n") == entries && strings.HasPrefix(string(text), "11.0.0.0/32"):
			whole++
		case answer.StatusCode == http.StatusConflict && strings.Contains(string(text), "2 lists are being read"):
			told++
		default:
			t.Errorf("answered with %s: %.200s", answer.Status, text)
		}
	}
	if whole != served || told != askers-served {
		t.Errorf("%d were served and %d told, want %d and %d", whole, told, served, askers-served)
	}
}
