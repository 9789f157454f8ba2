package control

// This file asks and answers questions whose answer is text, which is passed on as it comes.

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// text answers with what write writes. An error is the answer if it comes before the first
// byte; later it comes only because the caller hung up.
func text(write func(context.Context, url.Values, io.Writer) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := write(r.Context(), r.URL.Query(), w); err != nil {
			writeError(w, err)
		}
	})
}

// Export implements Reader.
func (c *Client) Export(ctx context.Context, all bool, w io.Writer) error {
	query := url.Values{}
	if all {
		query.Set("all", "")
	}
	return c.text(ctx, pathExport, query, w)
}

// Table implements Reader.
func (c *Client) Table(ctx context.Context, format, service string, w io.Writer) error {
	query := url.Values{"format": {format}, "service": {service}}
	return c.text(ctx, pathTable, query, w)
}

// text writes the answer at path to w. One that was cut off is an error: it has no last chunk.
func (c *Client) text(ctx context.Context, path string, query url.Values, w io.Writer) error {
	return c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}
