package main

// This file gives the engine's numbers to Prometheus, on the address of --metrics.

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/verbs"
)

// webConfig returns the file of TLS and passwords, absolute; "" for none.
func webConfig(f *cli.Context, file config.File) (string, error) {
	if !f.IsSet("web.config.file") {
		return file.WebConfig, nil
	}
	return absolute("web.config.file", f.Path("web.config.file"))
}

// scrape gives the engine's numbers to metrics.
type scrape struct{ *verbs.Engine }

func (s scrape) Snapshot(ctx context.Context) (shot metrics.Snapshot, err error) {
	if shot.Status, err = s.Engine.Snapshot(ctx); err != nil {
		return shot, err
	}
	shot.Stats, err = s.Engine.Stats(ctx)
	return shot, err
}

// Status is the engine's as it stands, without a probe.
func (s scrape) Status(ctx context.Context) (api.Status, error) { return s.Engine.Snapshot(ctx) }
