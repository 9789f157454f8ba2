package main

// This file serves Prometheus on the address of --metrics.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// webConfig returns the file of TLS and passwords, absolute; "" for none.
func webConfig(f *cli.Context, file config.File) (string, error) {
	if !f.IsSet("web.config.file") {
		return file.WebConfig, nil
	}
	return absolute("web.config.file", f.Path("web.config.file"))
}

// serveMetrics serves scrapes until ctx ends, with TLS and passwords where webConfig says so. At
// boot the address may not exist yet, and a file may have a mistake, so it tries again; until
// then status has a problem, and nothing is served without what the file asks for.
func serveMetrics(ctx context.Context, address, webConfig string, engine *reconcile.Engine, log *slog.Logger) {
	for told := false; ; told = true {
		err := serveMetricsOnce(ctx, address, webConfig, engine, log)
		if ctx.Err() != nil {
			return
		}
		if !told {
			log.Error(fmt.Sprintf("serve metrics: %v; trying again", err))
		}
		hint := "ss -ltnp"
		if _, file := errors.AsType[*webConfigError](err); file {
			hint = "editor " + quote(webConfig)
		}
		engine.Note(api.Problem{Code: "metrics", Subject: address, Text: fmt.Sprintf("metrics are not served: %v", err), Hint: hint})
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

// serveMetricsOnce listens and serves until ctx ends or it cannot go on.
func serveMetricsOnce(ctx context.Context, address, webConfig string, engine *reconcile.Engine, log *slog.Logger) error {
	if err := web.Validate(webConfig); err != nil {
		return &webConfigError{fmt.Errorf("%s: %w", webConfig, err)}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	engine.Forget("metrics")
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(scrape{engine}))
	mux.Handle("GET /{$}", metrics.Landing(engine.Snapshot))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	defer listener.Close()
	return web.Serve(listener, server, &web.FlagConfig{WebConfigFile: &webConfig}, slog.New(warnings{log.Handler()}))
}

// warnings leaves out what is no news: that a server listens, and whether with TLS.
type warnings struct{ slog.Handler }

func (warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// scrape gives the engine's numbers to metrics.
type scrape struct{ engine *reconcile.Engine }

func (s scrape) Snapshot(ctx context.Context) (shot metrics.Snapshot, err error) {
	if shot.Status, err = s.engine.Snapshot(ctx); err != nil {
		return shot, err
	}
	shot.Stats, err = s.engine.Stats(ctx)
	return shot, err
}
