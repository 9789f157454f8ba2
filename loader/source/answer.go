// This file asks file systems that may never answer: a call to a stale NFS hangs for ever, and
// no signal ends it.

package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a file system may take until its first or next byte.
const Patience = 10 * time.Second

// largest is in bytes, and more than any list: a million prefixes take 40 MiB.
const largest = 1 << 30

// asked has the paths for which a call still hangs. Each hanging call keeps a thread, so a path
// is not asked again before it has answered.
var asked sync.Map // string: struct{}

// Answer returns what ask returns, or an error where that takes longer than Patience or ctx
// ends. The goroutine of ask then goes on waiting, and its answer is dropped. While it waits
// for path, further calls for path fail at once.
func Answer[A any](ctx context.Context, path string, ask func() (A, error)) (A, error) {
	var moved atomic.Int64
	return answer(ctx, path, &moved, ask)
}

// answer is Answer for an ask that counts its progress in moved: it may take as long as that
// grows.
func answer[A any](ctx context.Context, path string, moved *atomic.Int64, ask func() (A, error)) (a A, err error) {
	if _, waits := asked.LoadOrStore(path, struct{}{}); waits {
		return a, errors.New("still does not answer: an earlier call is waiting for it")
	}
	type outcome struct {
		a   A
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		a, err := ask()
		asked.Delete(path)
		done <- outcome{a, err}
	}()
	ticks := time.NewTicker(Patience)
	defer ticks.Stop()
	for last := int64(0); ; {
		select {
		case o := <-done:
			return o.a, o.err
		case <-ctx.Done():
			return a, ctx.Err()
		case <-ticks.C:
		}
		now := moved.Load()
		if now == last {
			return a, fmt.Errorf("does not answer within %v", Patience)
		}
		last = now
	}
}

// slurp returns the content of a regular file, at most largest bytes.
func slurp(ctx context.Context, path string) ([]byte, error) {
	var moved atomic.Int64
	return answer(ctx, path, &moved, func() ([]byte, error) {
		// Without O_NONBLOCK a pipe would make us wait for whoever writes to it.
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return nil, cmp.Or(err, errors.New("not a regular file"))
		}
		text := make([]byte, 0, min(info.Size(), largest)+1)
		for {
			if len(text) == cap(text) {
				text = append(text, 0)[:len(text)]
			}
			n, err := f.Read(text[len(text):cap(text)])
			text = text[:len(text)+n]
			moved.Add(int64(n))
			switch {
			case errors.Is(err, io.EOF):
				return text, nil
			case err != nil:
				return nil, err
			case len(text) > largest:
				return nil, fmt.Errorf("is larger than %d MiB, which no list is", largest>>20)
			}
		}
	})
}
