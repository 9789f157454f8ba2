package api

import "context"

// This file is how a change says what it is at, while it is made.

type progressKey struct{}

// WithProgress returns a context in which a change tells what it is at, in words: "publishing 1000
// prefixes".
func WithProgress(ctx context.Context, tell func(string)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

// Progress returns whom a change is to tell what it is at; it may be nobody.
func Progress(ctx context.Context) (tell func(string)) {
	if tell, ok := ctx.Value(progressKey{}).(func(string)); ok {
		return tell
	}
	return func(string) {}
}
