package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: while two readers hold a list and do not read it, a third is told so, with exit code 1
// and what to type; who asks for something else is answered.
func TestThirdReaderIsTold(t *testing.T) {
	t.Parallel()
	engine := sampleEngine()
	for i := range 20_000 { // more than a socket holds
		e := entry(fmt.Sprintf("10.1.%d.%d/32", i/250, i%250), "acme", policy.OriginCLI)
		e.Note = strings.Repeat("x", 200)
		engine.listing.Entries = append(engine.listing.Entries, e)
	}
	w := newWorld(t).serve(t, engine)
	for _, path := range []string{"/v1/entries", "/v1/entries?format=text"} {
		conn, err := net.Dial("unix", w.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: xdpallow\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	code, out, stderr := w.sh("list")
	if want := "xdpallow: error: 2 lists are being read, and nobody reads on\nxdpallow: hint: xdpallow list"; code != 1 || out != "" || !strings.HasPrefix(stderr, want) {
		t.Errorf("exit %d, %.200s, %s, want 1 and %s", code, out, stderr, want)
	}
	for _, line := range []string{"status", "owners"} {
		if code, _, stderr := w.sh(line); code != 0 {
			t.Errorf("%s beside slow readers: exit %d, %s", line, code, stderr)
		}
	}
}

// Promise: a file of addresses is checked in pieces, and reads as if it had been one.
func TestCheckFileInPieces(t *testing.T) {
	engine := sampleEngine()
	engine.checks = []api.CheckResult{{
		Address: netip.MustParseAddr("192.0.2.7"), Port: policy.Port{Protocol: policy.TCP, Number: 443}, Verdict: "drop", Reason: "not_listed <&>",
		Services: []string{}, Origins: []policy.Origin{}, Covering: []api.Covering{}, Nearest: []api.Near{},
	}}
	w := newWorld(t).serve(t, engine)
	w.stdin = strings.Repeat("192.0.2.7\n", checkedAtOnce+1)
	code, out, stderr := w.sh("check -f - -o json")
	var results []api.CheckResult
	if err := json.Unmarshal([]byte(out), &results); err != nil || code != 1 || len(results) != len(w.asked) || len(results) < checkedAtOnce/400+1 {
		t.Fatalf("exit %d, %d results of %d questions, %v, %s", code, len(results), len(w.asked), err, stderr)
	}
	var want bytes.Buffer
	if err := (&call{out: &output{to: &want}}).printJSON(results); err != nil || want.String() != out {
		t.Errorf("%v: the pieces read\n%.500s\nnot\n%.500s", err, out, want.String())
	}
}
