package main

// This file is `assets`: the files that belong to an installation, carried
// inside the binary so that they always fit it.

import (
	"context"
	_ "embed"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
)

//go:embed assets/xdpallow.service
var unit string

func assetsCommand(e env) *cli.Command {
	return e.command("assets", "Print a file that belongs to an installation", "unit", nil, assets)
}

func assets(_ context.Context, c *call) error {
	if name := c.flags.Args().First(); c.flags.NArg() != 1 || name != "unit" {
		return &policy.InputError{
			What: fmt.Sprintf("assets needs the name of one file, and %q is none: there is unit", name),
			Hint: "xdpallow assets unit >/etc/systemd/system/xdpallow.service",
		}
	}
	if c.json {
		return c.printJSON(struct {
			Name string `json:"name"`
			Text string `json:"text"`
		}{"unit", unit})
	}
	_, err := io.WriteString(c.out, unit)
	return err
}
