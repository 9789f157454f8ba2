package main

// This file is the daemon's log: "xdpallow: message key=value" for people, or
// JSON. Time is left to the journal, which stamps every line anyway.

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// newLogger returns the logger of run; format is "text" or "json".
func newLogger(w io.Writer, format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(&textHandler{out: w, lock: new(sync.Mutex)})
}

// textHandler is a slog.Handler that writes a line a record. Warnings and
// errors are named, so that grep finds them.
type textHandler struct {
	out    io.Writer
	lock   *sync.Mutex // shared with all that WithAttrs made of it
	prefix string      // "group." for the keys to come
	attrs  string      // " key=value" of WithAttrs
}

func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString("xdpallow: ")
	switch {
	case r.Level >= slog.LevelError:
		line.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		line.WriteString("warning: ")
	}
	line.WriteString(policy.Printable(r.Message) + h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&line, h.prefix, a)
		return true
	})
	line.WriteByte('\n')
	h.lock.Lock()
	defer h.lock.Unlock()
	_, err := io.WriteString(h.out, line.String())
	return err
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var line strings.Builder
	for _, a := range attrs {
		appendAttr(&line, h.prefix, a)
	}
	with := *h
	with.attrs += line.String()
	return &with
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.prefix += name + "."
	}
	return &with
}

func appendAttr(line *strings.Builder, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range value.Group() {
			appendAttr(line, prefix, member)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	fmt.Fprintf(line, " %s%s=%s", prefix, a.Key, logValue(value.String()))
}

// logValue quotes what would not be one word, so that nothing in a value (a
// file name, a kernel message) can pose as a key or as a line.
func logValue(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || slices.Contains([]rune(` "=`), r) }
	if s == "" || strings.IndexFunc(s, odd) >= 0 {
		return strconv.Quote(s)
	}
	return s
}
