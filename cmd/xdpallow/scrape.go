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

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// serveMetrics serves scrapes until ctx ends. At boot the address may not exist yet, so it
// tries again; until then status has a problem.
func serveMetrics(ctx context.Context, address string, engine *reconcile.Engine, log *slog.Logger) {
	listener, err := net.Listen("tcp", address)
	for tries := 0; err != nil; tries++ {
		if tries == 0 {
			log.Error(fmt.Sprintf("serve metrics: %v; trying again", err))
		}
		engine.Note(api.Problem{Code: "metrics", Subject: address, Text: fmt.Sprintf("metrics are not served: %v", err), Hint: "ss -ltnp"})
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
		listener, err = net.Listen("tcp", address)
	}
	engine.Forget("metrics")
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(scrape{engine}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Error(fmt.Sprintf("serve metrics: %v", err))
	}
}

// scrape gives the engine's numbers to metrics.
type scrape struct{ engine *reconcile.Engine }

func (s scrape) Snapshot(ctx context.Context) (shot metrics.Snapshot, err error) {
	if shot.Status, err = s.engine.Snapshot(ctx); err != nil {
		return shot, err
	}
	shot.IPv4, shot.IPv6 = s.engine.Families()
	shot.Stats, err = s.engine.Stats(ctx)
	return shot, err
}
