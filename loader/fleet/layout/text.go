package layout

// This file is one chunk: its name and its sum, how it is packed, and how an entry is found in its
// lines.

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/policy"
)

func (c Chunk) name() string { return "chunk/" + c.Sum[:12] }

func (c Chunk) wrong(format string, args ...any) error {
	return &policy.InputError{Where: c.name(), What: fmt.Sprintf(format, args...)}
}

func textSum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// pack returns text as it is kept.
func pack(text []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	_, err := w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// unpack returns the lines of c and holds them to their bounds, sum and number.
func unpack(c Chunk, packed []byte) ([]byte, error) {
	if packed == nil {
		return nil, c.wrong("is not there")
	}
	if len(packed) > maxPacked {
		return nil, c.wrong("%d bytes are more than %d", len(packed), maxPacked)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, c.wrong("cannot be unpacked: %v", err)
	}
	var text bytes.Buffer
	text.Grow(min(c.Entries*64, maxText))
	if _, err := io.Copy(&text, io.LimitReader(r, maxText+1)); err != nil {
		return nil, c.wrong("cannot be unpacked: %v", err)
	}
	switch {
	case text.Len() > maxText:
		return nil, c.wrong("is over %d MiB, unpacked", maxText>>20)
	case text.Len() > c.Entries*(policy.MaxLine+1):
		return nil, c.wrong("is over %d bytes an entry, unpacked", policy.MaxLine)
	case textSum(text.Bytes()) != c.Sum:
		return nil, c.wrong("is not what its name says: its sum is another one")
	case bytes.Count(text.Bytes(), []byte("\n")) != c.Entries || !bytes.HasSuffix(text.Bytes(), []byte("\n")):
		return nil, c.wrong("has not %d lines, as its manifest says", c.Entries)
	case prefixOf(text.Bytes()) != c.First:
		return nil, c.wrong("does not begin with %v, as its manifest says", c.First)
	}
	return text.Bytes(), nil
}

// cutLine cuts the first line off text, without its end.
func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte("\n"))
	return line, rest
}

// prefixOf returns the prefix with which a line or a text begins, not valid where there is none.
func prefixOf(line []byte) netip.Prefix {
	if end := bytes.IndexAny(line, " \n"); end >= 0 {
		line = line[:end]
	}
	p, err := netip.ParsePrefix(string(line))
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// search returns where in text the line of p begins, or would.
func search(text []byte, p netip.Prefix) (at int, found bool) {
	for rest := text; len(rest) > 0; {
		line, after := cutLine(rest)
		if c := policy.ComparePrefix(prefixOf(line), p); c >= 0 {
			return at, c == 0
		}
		at, rest = at+len(line)+1, after
	}
	return len(text), false
}
