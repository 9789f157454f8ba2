package main

// This file is `demo`, which shows the whole job to somebody who has never seen it.

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/demo"
)

func demoCommand(e env) *cli.Command {
	return e.command("demo", "Show the whole job in namespaces that it makes and removes", "", []cli.Flag{
		&cli.BoolFlag{Name: "fleet", Usage: "show three hosts that follow one list in etcd, which must be installed"},
	}, func(ctx context.Context, c *call) error {
		switch {
		case c.uid != 0:
			return fmt.Errorf("demo makes network namespaces and needs root: %w", os.ErrPermission)
		case c.flags.Bool("fleet"):
			return demo.Fleet(ctx, c.out)
		}
		return demo.Gate(ctx, c.out)
	})
}
