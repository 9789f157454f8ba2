package control

// This file has a daemon say, each second of a change, that it works and at what: a client waits
// as long as that goes on, and no longer.

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

const (
	// silence is how long a client waits for a word of a daemon that took the connection: a
	// stopped process says nothing for ever.
	silence = 2 * time.Minute
	// word is how often a daemon says that it works.
	word = time.Second

	headerWork = "Xdpallow-Work" // at what, in words
)

// answerTime is how long an answer may take to be written, in which nobody else waits.
const answerTime = 5 * time.Minute

// working tells the caller that his change is being made, until the caller of working calls done,
// which may be called again. Only then may w be written to. The context it returns is told at what.
func working(ctx context.Context, w http.ResponseWriter) (_ context.Context, done func()) {
	var at atomic.Pointer[string]
	var ended sync.WaitGroup
	end, answer := make(chan struct{}), http.NewResponseController(w)
	ended.Go(func() {
		ticks := time.NewTicker(word)
		defer ticks.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticks.C:
				if text := at.Load(); text != nil {
					w.Header().Set(headerWork, *text)
				}
				w.WriteHeader(http.StatusProcessing)
				w.Header().Del(headerWork)
				_ = answer.SetWriteDeadline(time.Now().Add(answerTime)) // where there is none, none is missed
			}
		}
	})
	return api.WithProgress(ctx, func(text string) { at.Store(&text) }), sync.OnceFunc(func() {
		close(end)
		ended.Wait()
	})
}

// errSilent is a daemon that says nothing any more.
var errSilent = errors.New("it has said nothing for two minutes")

// heard returns a context that ends with errSilent when the daemon is silent for so long, and hands
// what it works at to tell. The caller calls answered when the answer has begun, and forget at the
// end of it.
func heard(ctx context.Context, silence time.Duration, tell func(string)) (_ context.Context, answered, forget func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(silence, func() { cancel(errSilent) })
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			timer.Reset(silence)
			if text := header.Get(headerWork); text != "" {
				tell(text)
			}
			return nil
		},
	}), func() { timer.Stop() }, func() { cancel(nil) }
}
