package main

// This file is `version`: which build is this?

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is stamped by the Makefile (-ldflags "-X main.version=v1.2.3").
var version string

// buildVersion falls back to what `go install …@v1.2.3` leaves in the binary.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func versionCommand(e env) *cli.Command {
	return e.command("version", "Print the version", "", nil, func(_ context.Context, c *call) error {
		if c.json {
			return c.printJSON(struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{buildVersion(), runtime.Version()})
		}
		_, err := fmt.Fprintf(c.out, "xdpallow %s (%s)\n", buildVersion(), runtime.Version())
		return err
	})
}
