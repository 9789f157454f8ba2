package main

// Promise guarded here: a line of the log is one line, in the voice of
// messages.go, and nothing in a value can pose as something else.

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
)

func TestTextLog(t *testing.T) {
	for _, test := range []struct {
		log  func(*slog.Logger)
		want string
	}{
		{func(l *slog.Logger) { l.Info("eth0: attached (native)") }, "xdpallow: eth0: attached (native)\n"},
		{func(l *slog.Logger) { l.Info("reloaded", "generation", 4, "file", "a b") }, "xdpallow: reloaded generation=4 file=\"a b\"\n"},
		{func(l *slog.Logger) { l.Warn("slow") }, "xdpallow: warning: slow\n"},
		{func(l *slog.Logger) { l.Error("publish", "error", errors.New("no\nmemory")) }, "xdpallow: error: publish error=\"no\\nmemory\"\n"},
		{func(l *slog.Logger) { l.Info("a\nxdpallow: b", "k", `x="y"`) }, "xdpallow: a xdpallow: b k=\"x=\\\"y\\\"\"\n"},
		{func(l *slog.Logger) { l.With("a", 1).WithGroup("g").With("b", "").Info("m", "c", 3) }, "xdpallow: m a=1 g.b=\"\" g.c=3\n"},
		{func(l *slog.Logger) { l.Info("m", slog.Group("g", "a", 1), slog.Attr{}) }, "xdpallow: m g.a=1\n"},
		{func(l *slog.Logger) { l.Debug("secret") }, ""},
	} {
		var out bytes.Buffer
		test.log(newLogger(&out, "text"))
		if out.String() != test.want {
			t.Errorf("got %q, want %q", out.String(), test.want)
		}
	}
}

func TestJSONLog(t *testing.T) {
	var out bytes.Buffer
	newLogger(&out, "json").Info("reloaded", "generation", 4)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "reloaded" || line["generation"] != 4.0 {
		t.Errorf("%s: %v", out.String(), err)
	}
}
