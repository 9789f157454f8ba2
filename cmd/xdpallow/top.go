package main

// This file is `top`: the attack as it goes on.

import (
	"context"
	"encoding/json"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/top"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// topRows is how many talkers are asked for: more than the tallest terminal shows.
const topRows = 50

func topCommand(e env) *cli.Command {
	return e.command("top", "Watch what is dropped, why, and who sends it", "", []cli.Flag{watchFlag("look every `INTERVAL`, as 1s; with -o json print a line each time")}, showTop)
}

func showTop(ctx context.Context, c *call) error {
	interval, watching, err := c.interval()
	if err != nil {
		return err
	}
	client := c.client()
	if c.json {
		return showLive(ctx, c, watching, interval, client.Live)
	}
	if !c.screen || !c.terminal || c.quiet {
		return &policy.InputError{What: "top needs a terminal, to show and to read keys", Hint: "xdpallow top -o json"}
	}
	client.Waiting = nil // it would write into the picture
	source := func(ctx context.Context) (api.Live, error) { return client.Live(ctx, topRows) }
	// Nobody should have to leave the picture to learn that there is no daemon.
	if _, err := source(ctx); err != nil {
		return err
	}
	return top.Run(ctx, c.stdin, c.stdout, source, top.Options{Interval: interval})
}

// showLive prints one snapshot, or one a line until ctx ends.
func showLive(ctx context.Context, c *call, watching bool, interval time.Duration, ask func(context.Context, int) (api.Live, error)) error {
	if !watching {
		live, err := ask(ctx, topRows)
		if err != nil {
			return err
		}
		return c.printJSON(live)
	}
	out := json.NewEncoder(c.out)
	return every(ctx, interval, func() error {
		live, err := ask(ctx, topRows)
		if err != nil {
			return err
		}
		return out.Encode(live)
	})
}
