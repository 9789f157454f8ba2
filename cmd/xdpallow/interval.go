package main

// This file asks again and again, for the commands that take -w.

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// shortest is how often a question may be asked: more often says no more and costs the
// daemon.
const shortest = 100 * time.Millisecond

func watchFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "watch", Aliases: []string{"w"}, Usage: usage}
}

// interval is what -w says, and whether it says anything; a second when it does not.
func (c *call) interval() (time.Duration, bool, error) {
	if !c.flags.IsSet("watch") {
		return time.Second, false, nil
	}
	text := c.flags.String("watch")
	interval, err := time.ParseDuration(text)
	if err == nil && interval < shortest {
		err = fmt.Errorf("shorter than %v", shortest)
	}
	if err != nil {
		return 0, true, &policy.InputError{What: fmt.Sprintf("-w %q is no interval of %v or longer", text, shortest), Hint: "xdpallow " + c.flags.Command.Name + " -w 1s"}
	}
	return interval, true, nil
}

// every calls ask now and at every interval, until ctx ends, which is no error, or ask
// fails.
func every(ctx context.Context, interval time.Duration, ask func() error) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		if err := ask(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}
