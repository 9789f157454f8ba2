package control

// This file asks and answers questions whose answer is text, which is passed on as it comes:
// neither side has it in memory as a whole.

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// What follows the text: an error, without which it is whole, and what list --unused leaves out.
const (
	trailerError   = "Xdpallow-Error"
	trailerLeftOut = "Xdpallow-Left-Out"
)

// mostTrailer bounds an error behind a text, in bytes: a client reads no more than 4 KiB there.
const mostTrailer = 1000

// standstill is how long a reader of text may take nothing in before he is let go: he may have it
// in a pager. Until then the state that he reads is kept for him.
const standstill = 5 * time.Minute

// text answers with what write writes, and puts what it returns behind that under trailer. No
// more than a few are answered at a time.
func text[T any](lists readers, trailer string, write func(context.Context, url.Values, io.Writer) (T, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := working(r.Context(), w)
		defer done()
		if err := lists.begin(ctx); err != nil {
			done()
			writeError(w, err)
			return
		}
		defer lists.end()
		out := &textWriter{ResponseWriter: w, begins: done}
		behind, err := write(ctx, r.URL.Query(), out)
		done()
		if err == nil {
			_, _ = out.Write(nil) // of an answer without a byte
		}
		switch {
		case err != nil && !out.begun:
			writeError(w, err)
		case err != nil:
			out.trailer(trailerError, err.Error())
		case trailer != "":
			out.trailer(trailer, behind)
		}
	})
}

// textWriter is an answer, of which each part has standstill to be read.
type textWriter struct {
	http.ResponseWriter
	begins func() // called before the first part
	begun  bool
}

func (w *textWriter) Write(part []byte) (int, error) {
	if !w.begun {
		w.begins()
		w.begun = true
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Trailer", trailerError+", "+trailerLeftOut) // else a short answer has none
	}
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(standstill)) // else that of the server
	return w.ResponseWriter.Write(part)
}

// trailer puts what behind the text.
func (w *textWriter) trailer(name string, what any) {
	if line, long := what.(string); long && len(line) > mostTrailer {
		what = line[:mostTrailer]
	}
	if encoded, err := json.Marshal(what); err == nil {
		w.Header().Set(name, url.QueryEscape(string(encoded)))
	}
}

// behind reads what stands behind the text under name, if anything does.
func behind(resp *http.Response, name string, into any) error {
	encoded, err := url.QueryUnescape(resp.Trailer.Get(name))
	if err != nil || encoded == "" {
		return err
	}
	return json.Unmarshal([]byte(encoded), into)
}

// List implements Reader.
func (c *Client) List(ctx context.Context, req api.ListRequest, w io.Writer) (left api.LeftOut, err error) {
	err = c.text(ctx, pathEntries, listQuery(req), w, func(resp *http.Response) error { return behind(resp, trailerLeftOut, &left) })
	return left, err
}

// Export implements Reader.
func (c *Client) Export(ctx context.Context, all bool, w io.Writer) error {
	query := url.Values{}
	if all {
		query.Set("all", "")
	}
	return c.text(ctx, pathExport, query, w, nil)
}

// Table implements Reader.
func (c *Client) Table(ctx context.Context, format, service string, w io.Writer) error {
	return c.text(ctx, pathTable, url.Values{"format": {format}, "service": {service}}, w, nil)
}

// text writes the answer at path to w, and calls more, unless it is nil, when all is there. An
// answer that was cut off is an error: it has no last chunk.
func (c *Client) text(ctx context.Context, path string, query url.Values, w io.Writer, more func(*http.Response) error) error {
	return c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, func(resp *http.Response) error {
		if _, err := io.Copy(w, resp.Body); err != nil {
			return err
		}
		var failed string
		if err := behind(resp, trailerError, &failed); err != nil {
			return err
		}
		if failed != "" {
			return errors.New(failed)
		}
		if more == nil {
			return nil
		}
		return more(resp)
	})
}
