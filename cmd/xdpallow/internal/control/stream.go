package control

// This file sends events, one a line, for as long as somebody listens.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/events"
)

// hesitation is how long a follower may read nothing before its connection is closed: the
// daemon holds in memory what a follower does not read.
const hesitation = 30 * time.Second

// stream answers with events.
func stream(engine Watcher) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last, err := number(r, "last")
		if err != nil {
			writeError(w, err)
			return
		}
		out := http.NewResponseController(w)
		// The limits of the server are for answers that have an end.
		if err := errors.Join(out.SetReadDeadline(time.Time{}), out.SetWriteDeadline(time.Now().Add(hesitation))); err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set(headerAlive, word.String())
		_ = out.Flush()
		var writing sync.Mutex
		say := func(line []byte) error {
			writing.Lock()
			defer writing.Unlock()
			late := out.SetWriteDeadline(time.Now().Add(hesitation))
			_, err := w.Write(append(line, '\n'))
			return errors.Join(late, err, out.Flush())
		}
		ctx, end := context.WithCancel(r.Context())
		var living sync.WaitGroup
		living.Go(func() { // an empty line: events may be hours apart
			for range ticks(ctx) {
				_ = say(nil)
			}
		})
		defer living.Wait()
		defer end()
		// Fails only when the caller hung up.
		_ = engine.Events(ctx, last, r.URL.Query().Get("follow") == "true", func(e events.Event) error {
			line, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return say(line)
		})
	})
}

// ErrEnded is returned to who follows a daemon that ends.
var ErrEnded = errors.New("the daemon has ended")

// Events implements Watcher.
func (c *Client) Events(ctx context.Context, n int, follow bool, fn func(events.Event) error) error {
	query := url.Values{"last": {strconv.Itoa(n)}, "follow": {strconv.FormatBool(follow)}}
	err := c.do(ctx, http.MethodGet, pathEvents+"?"+query.Encode(), nil, func(resp *http.Response) error {
		lines := json.NewDecoder(resp.Body)
		for {
			var e events.Event
			if err := lines.Decode(&e); errors.Is(err, io.EOF) && !follow {
				return nil
			} else if err != nil {
				return err
			}
			if err := fn(e); err != nil {
				return fnError{err}
			}
		}
	})
	var own fnError
	switch {
	case errors.As(err, &own):
		return own.error
	case follow && ctx.Err() != nil:
		return nil
	case follow && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return fmt.Errorf("%w: no more events", ErrEnded)
	}
	return err
}

// fnError is the error of who was called, and not of the daemon.
type fnError struct{ error }
