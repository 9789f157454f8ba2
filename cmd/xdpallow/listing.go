package main

// This file writes listings an entry at a time: neither the daemon nor the command holds the text
// of a million entries.

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/offline"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/verbs"
)

// served is the engine of a daemon, which writes listings as whoever asks wants to print them.
type served struct{ *verbs.Engine }

// List implements control.Reader.
func (s served) List(ctx context.Context, r api.ListRequest, w io.Writer) (api.LeftOut, error) {
	return listedBy(s.Engine.List, ctx, r, w)
}

// pinned answers without a daemon, likewise.
type pinned struct{ offline.Gate }

// List implements control.Reader.
func (p pinned) List(ctx context.Context, r api.ListRequest, w io.Writer) (api.LeftOut, error) {
	return listedBy(p.Gate.List, ctx, r, w)
}

func listedBy(list func(context.Context, api.ListRequest, func(api.Listed) error) error, ctx context.Context, r api.ListRequest, w io.Writer) (left api.LeftOut, err error) {
	err = list(ctx, r, func(l api.Listed) error {
		left = l.LeftOut()
		return writeListed(w, r, l)
	})
	return left, err
}

// writeListed writes l in the format of r. After an error what was written is no listing.
func writeListed(w io.Writer, r api.ListRequest, l api.Listed) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var err error
	switch r.Format {
	case "text":
		var failed error
		err = policy.WriteLines(out, until(l.Claims, &failed))
		if failed != nil {
			return failed
		}
	case "table":
		err = writeEntryTable(out, r, l)
	default:
		err = writeListedJSON(out, l)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// until yields what all does up to an error, which it puts into failed.
func until[T any](all iter.Seq2[T, error], failed *error) iter.Seq[T] {
	return func(yield func(T) bool) {
		for one, err := range all {
			if *failed = err; err != nil || !yield(one) {
				return
			}
		}
	}
}

func always() bool { return true }

func writeListedJSON(w *bufio.Writer, l api.Listed) error {
	if err := writeHead(w, api.Listing{Generation: l.Generation, Total: l.Total, Connected: l.Connected}); err != nil {
		return err
	}
	if err := writeArray(w, l.Entries(always)); err != nil {
		return err
	}
	_, err := w.WriteString("}\n")
	return err
}

// writeListing writes the answer of a change as JSON, an entry a line, so that grep and diff
// work on it as they do on the table.
func writeListing(w io.Writer, listing api.Listing) error {
	out := bufio.NewWriter(w)
	if err := writeHead(out, listing); err != nil {
		return err
	}
	if err := writeArray(out, each(listing.Entries)); err != nil {
		return err
	}
	if listing.Changed != nil {
		fmt.Fprintf(out, `,"changed":%v`, *listing.Changed)
	}
	if len(listing.Was) > 0 {
		out.WriteString(`,"was":`)
		if err := writeArray(out, each(listing.Was)); err != nil {
			return err
		}
	}
	foreseen, err := json.Marshal(listing.Foreseen)
	if err != nil {
		return fmt.Errorf("write what a change cuts off: %w", err)
	}
	if inner := foreseen[1 : len(foreseen)-1]; len(inner) > 0 {
		out.WriteByte(',')
		out.Write(inner)
	}
	if listing.Cut != nil {
		fmt.Fprintf(out, `,"cut":%d`, *listing.Cut)
	}
	out.WriteString("}\n")
	return out.Flush() // carries the first error of the writes above
}

// writeHead writes all that comes before the entries.
func writeHead(w *bufio.Writer, l api.Listing) error {
	fmt.Fprintf(w, `{"generation":%d,"total":%d,`, l.Generation, l.Total)
	for _, more := range []struct {
		key   string
		there bool
		value any
	}{{"connected", len(l.Connected) > 0, l.Connected}, {"still_listed", len(l.Still) > 0, l.Still}, {"warnings", len(l.Warnings) > 0, l.Warnings}} {
		if !more.there {
			continue
		}
		text, err := json.Marshal(more.value)
		if err != nil {
			return fmt.Errorf("write %s: %w", more.key, err)
		}
		fmt.Fprintf(w, "%q:%s,", more.key, text)
	}
	_, err := w.WriteString(`"entries":`)
	return err
}

func each[T any](all []T) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for i := range all {
			if !yield(&all[i], nil) {
				return
			}
		}
	}
}

// writeArray writes an element a line.
func writeArray[T any](w *bufio.Writer, all iter.Seq2[*T, error]) error {
	w.WriteByte('[')
	n := 0
	for one, err := range all {
		if err != nil {
			return err
		}
		text, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("write entry %d: %w", n+1, err)
		}
		if n++; n > 1 {
			w.WriteByte(',')
		}
		w.WriteByte('\n')
		if _, err := w.Write(text); err != nil {
			return err // whoever reads has gone
		}
	}
	if n > 0 {
		w.WriteByte('\n')
	}
	return w.WriteByte(']')
}
