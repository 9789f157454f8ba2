package control

// This file has a daemon say, each second of its work, that it works and at what: a client waits
// as long as that goes on, and no longer.

import (
	"context"
	"errors"
	"io"
	"iter"
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

	headerWork  = "Xdpallow-Work"  // at what, in words
	headerAlive = "Xdpallow-Alive" // of an answer in which the daemon says each word that it lives
)

// answerTime is how long an answer may take to be written, in which nobody else waits.
const answerTime = 5 * time.Minute

// working tells the caller that his answer is being made, until the caller of working calls done,
// which may be called again. Only then may w be written to. The context it returns is told at what.
func working(ctx context.Context, w http.ResponseWriter) (_ context.Context, done func()) {
	var at atomic.Pointer[string]
	var ended sync.WaitGroup
	works, end := context.WithCancel(context.WithoutCancel(ctx))
	ended.Go(func() {
		for range ticks(works) {
			if text := at.Load(); text != nil {
				w.Header().Set(headerWork, *text)
			}
			w.WriteHeader(http.StatusProcessing)
			w.Header().Del(headerWork)
			// Where there is no deadline, none is missed.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
		}
	})
	return api.WithProgress(ctx, func(text string) { at.Store(&text) }), sync.OnceFunc(func() {
		end()
		ended.Wait()
	})
}

// ticks yields with each word that is due, until ctx ends.
func ticks(ctx context.Context) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		ticker := time.NewTicker(word)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-ticker.C:
				if !yield(at) {
					return
				}
			}
		}
	}
}

// errSilent is a daemon that says nothing any more.
var errSilent = errors.New("it has said nothing for two minutes")

// listener gives a daemon up that is silent for too long.
type listener struct {
	silence time.Duration
	timer   *time.Timer
}

// heard returns a context that ends with errSilent when the daemon is silent for so long before its
// answer, and hands what it works at to tell. The caller calls answered of the listener when
// the answer has begun, and forget at the end of it.
func heard(ctx context.Context, silence time.Duration, tell func(string)) (_ context.Context, l listener, forget func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	l = listener{silence, time.AfterFunc(silence, func() { cancel(errSilent) })}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			l.timer.Reset(silence)
			if text := header.Get(headerWork); text != "" {
				tell(text)
			}
			return nil
		},
	}), l, func() { cancel(nil) }
}

// answered ends the wait for an answer.
func (l listener) answered() { l.timer.Stop() }

// heardBody is an answer of which each part is waited for as long. How long its reader takes over a part
// does not count.
type heardBody struct {
	io.ReadCloser
	listener
}

func (b heardBody) Read(part []byte) (int, error) {
	b.timer.Reset(b.silence)
	defer b.timer.Stop()
	return b.ReadCloser.Read(part)
}
