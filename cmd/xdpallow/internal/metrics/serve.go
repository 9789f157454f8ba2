package metrics

// This file serves scrapes and the page before them.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Gate is what is served, and takes the problem that it is not.
type Gate interface {
	Source
	Status(context.Context) (api.Status, error) // with the problems found last
	Note(api.Problem)
	Forget(code string)
}

// Serve serves scrapes until ctx ends, with TLS and passwords where webConfig says so. At
// boot the address may not exist yet, and a file may have a mistake, so it tries again; until
// then status has a problem, and nothing is served without what the file asks for.
func Serve(ctx context.Context, address, webConfig string, of Gate, log *slog.Logger) {
	for told := false; ; told = true {
		err := serveOnce(ctx, address, webConfig, of, log)
		if ctx.Err() != nil {
			return
		}
		if !told {
			log.Error(fmt.Sprintf("serve metrics: %v; trying again", err))
		}
		hint := "ss -ltnp"
		if _, file := errors.AsType[*webConfigError](err); file {
			hint = "editor " + webConfig
		}
		of.Note(api.Problem{Code: "metrics", Subject: address, Text: fmt.Sprintf("metrics are not served: %v", err), Hint: hint})
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
	}
}

// webConfigError is a mistake in the file of TLS and passwords.
type webConfigError struct{ error }

func (e *webConfigError) Unwrap() error { return e.error }

// serveOnce listens and serves until ctx ends or it cannot go on.
func serveOnce(ctx context.Context, address, webConfig string, of Gate, log *slog.Logger) error {
	if err := web.Validate(webConfig); err != nil {
		return &webConfigError{fmt.Errorf("%s: %w", webConfig, err)}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	of.Forget("metrics")
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", Handler(of))
	mux.Handle("GET /{$}", Landing(of.Status))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	defer listener.Close()
	return web.Serve(listener, server, &web.FlagConfig{WebConfigFile: &webConfig}, slog.New(warnings{log.Handler()}))
}

// warnings leaves out what is no news: that a server listens, and whether with TLS.
type warnings struct{ slog.Handler }

func (warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
