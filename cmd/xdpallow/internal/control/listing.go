package control

// This file writes and reads a listing an entry at a time, because the JSON
// of a million entries is not to be held in memory beside the entries.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/xdpallow/xdpallow/loader/api"
)

// WriteListing writes listing as JSON, an entry a line, so that grep and diff
// work on it as they do on the table.
func WriteListing(w io.Writer, listing api.Listing) error {
	buffered := bufio.NewWriter(w)
	fmt.Fprintf(buffered, `{"generation":%d,"total":%d,`, listing.Generation, listing.Total)
	for _, more := range []struct {
		key   string
		there bool
		value any
	}{{"connected", len(listing.Connected) > 0, listing.Connected}, {"still_listed", len(listing.Still) > 0, listing.Still}, {"warnings", len(listing.Warnings) > 0, listing.Warnings}} {
		if !more.there {
			continue
		}
		text, err := json.Marshal(more.value)
		if err != nil {
			return fmt.Errorf("write %s: %w", more.key, err)
		}
		fmt.Fprintf(buffered, "%q:%s,", more.key, text)
	}
	buffered.WriteString(`"entries":`)
	if err := writeArray(buffered, listing.Entries); err != nil {
		return err
	}
	if listing.Changed != nil {
		fmt.Fprintf(buffered, `,"changed":%v`, *listing.Changed)
	}
	if len(listing.Was) > 0 {
		buffered.WriteString(`,"was":`)
		if err := writeArray(buffered, listing.Was); err != nil {
			return err
		}
	}
	if err := writeForeseen(buffered, listing.Foreseen); err != nil {
		return err
	}
	if listing.Cut != nil {
		fmt.Fprintf(buffered, `,"cut":%d`, *listing.Cut)
	}
	buffered.WriteString("}\n")
	return buffered.Flush() // carries the first error of the writes above
}

// writeArray writes an element a line.
func writeArray[T any](w *bufio.Writer, all []T) error {
	w.WriteByte('[')
	for i := range all {
		text, err := json.Marshal(all[i])
		if err != nil {
			return fmt.Errorf("write entry %d of %d: %w", i+1, len(all), err)
		}
		if i > 0 {
			w.WriteByte(',')
		}
		w.WriteByte('\n')
		w.Write(text)
	}
	if len(all) > 0 {
		w.WriteByte('\n')
	}
	return w.WriteByte(']')
}

// writeForeseen continues an object with what was foreseen of a change; of what only
// reads nothing was.
func writeForeseen(w *bufio.Writer, foreseen api.Foreseen) error {
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
func readListing(r io.Reader) (api.Listing, error) {
	listing := api.Listing{Entries: []api.Entry{}}
	in := json.NewDecoder(r)
	if err := expect(in, json.Delim('{')); err != nil {
		return api.Listing{}, err
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return api.Listing{}, err
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
			err = readArray(in, &listing.Entries)
		case "changed":
			err = in.Decode(&listing.Changed)
		case "was":
			err = readArray(in, &listing.Was)
		default:
			var skipped json.RawMessage
			err = in.Decode(&skipped)
		}
		if err != nil {
			return api.Listing{}, err
		}
	}
	if err := expect(in, json.Delim('}')); err != nil {
		return api.Listing{}, err
	}
	return listing, nil
}

func readArray[T any](in *json.Decoder, all *[]T) error {
	if err := expect(in, json.Delim('[')); err != nil {
		return err
	}
	for in.More() {
		var one T
		if err := in.Decode(&one); err != nil {
			return err
		}
		*all = append(*all, one)
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
