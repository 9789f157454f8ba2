package control

// This file writes and reads a listing an entry at a time, because the JSON
// of a million entries is not to be held in memory beside the entries.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// WriteListing writes listing as JSON, an entry a line, so that grep and diff
// work on it as they do on the table.
func WriteListing(w io.Writer, listing reconcile.Listing) error {
	buffered := bufio.NewWriter(w)
	fmt.Fprintf(buffered, `{"generation":%d,"total":%d,`, listing.Generation, listing.Total)
	if len(listing.Connected) > 0 {
		text, err := json.Marshal(listing.Connected)
		if err != nil {
			return fmt.Errorf("write who is connected: %w", err)
		}
		fmt.Fprintf(buffered, "\"connected\":%s,", text)
	}
	buffered.WriteString(`"entries":[`)
	for i, entry := range listing.Entries {
		text, err := json.Marshal(entry)
		if err != nil {
			return fmt.Errorf("write entry %s: %w", entry.Prefix, err)
		}
		if i > 0 {
			buffered.WriteByte(',')
		}
		buffered.WriteByte('\n')
		buffered.Write(text)
	}
	if len(listing.Entries) > 0 {
		buffered.WriteByte('\n')
	}
	buffered.WriteByte(']')
	if err := writeForeseen(buffered, listing.Foreseen); err != nil {
		return err
	}
	if listing.Cut != nil {
		fmt.Fprintf(buffered, `,"cut":%d`, *listing.Cut)
	}
	buffered.WriteString("}\n")
	return buffered.Flush() // carries the first error of the writes above
}

// writeForeseen continues an object with what was foreseen of a change; of what only
// reads nothing was.
func writeForeseen(w *bufio.Writer, foreseen reconcile.Foreseen) error {
	text, err := json.Marshal(foreseen)
	if err != nil {
		return fmt.Errorf("write what a change cuts off: %w", err)
	}
	if inner := text[1 : len(text)-1]; len(inner) > 0 {
		w.WriteByte(',')
		w.Write(inner)
	}
	return nil
}

// readListing reads what WriteListing wrote. Unknown fields are skipped: a
// newer daemon may say more. A listing that was cut off is an error, never a
// shorter listing.
func readListing(r io.Reader) (reconcile.Listing, error) {
	listing := reconcile.Listing{Entries: []reconcile.Entry{}}
	in := json.NewDecoder(r)
	if err := expect(in, json.Delim('{')); err != nil {
		return reconcile.Listing{}, err
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return reconcile.Listing{}, err
		}
		switch key {
		case "generation":
			err = in.Decode(&listing.Generation)
		case "total":
			err = in.Decode(&listing.Total)
		case "connected":
			err = in.Decode(&listing.Connected)
		case "cut":
			err = in.Decode(&listing.Cut)
		case "entries":
			err = readEntries(in, &listing.Entries)
		default:
			var skipped json.RawMessage
			err = in.Decode(&skipped)
		}
		if err != nil {
			return reconcile.Listing{}, err
		}
	}
	if err := expect(in, json.Delim('}')); err != nil {
		return reconcile.Listing{}, err
	}
	return listing, nil
}

func readEntries(in *json.Decoder, entries *[]reconcile.Entry) error {
	if err := expect(in, json.Delim('[')); err != nil {
		return err
	}
	for in.More() {
		var entry reconcile.Entry
		if err := in.Decode(&entry); err != nil {
			return err
		}
		*entries = append(*entries, entry)
	}
	return expect(in, json.Delim(']'))
}

func expect(in *json.Decoder, want json.Delim) error {
	token, err := in.Token()
	if err == nil && token != want {
		err = fmt.Errorf("%q where %q was expected", fmt.Sprint(token), want)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
