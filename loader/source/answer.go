// This file asks file systems that may not answer: a stale NFS keeps who asks for ever,
// and no signal ends that.

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

// Patience is how long a file system may take to say anything at all.
const Patience = 10 * time.Second

// largest is more than any list: a million prefixes take 40 MiB.
const largest = 1 << 30

// asked are the paths at which somebody still waits for an answer. Each costs a thread,
// so it is asked again only when it has answered.
var asked sync.Map // string: struct{}

// Answer returns what ask returns, or an error where it takes longer than Patience, or
// ctx ends. What asks then goes on waiting, and its answer is dropped.
func Answer[A any](ctx context.Context, path string, ask func() (A, error)) (A, error) {
	var moved atomic.Int64
	return answer(ctx, path, &moved, ask)
}

// answer is Answer of a question that counts in moved what it has got so far: it may take
// as long as that grows.
func answer[A any](ctx context.Context, path string, moved *atomic.Int64, ask func() (A, error)) (a A, err error) {
	if _, waits := asked.LoadOrStore(path, struct{}{}); waits {
		return a, errors.New("does not answer, as before: somebody still waits for it")
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

// slurp returns the content of a regular file.
func slurp(ctx context.Context, path string) ([]byte, error) {
	var moved atomic.Int64
	return answer(ctx, path, &moved, func() ([]byte, error) {
		// A pipe would make us wait for whoever writes to it.
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
				return nil, fmt.Errorf("more than %d MiB are no list", largest>>20)
			}
		}
	})
}
