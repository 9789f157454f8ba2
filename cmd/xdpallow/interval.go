package main

// This file is -w: a command that asks again at an interval.

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// shortestInterval bounds the load that -w puts on the daemon.
const shortestInterval = 100 * time.Millisecond

func watchFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "watch", Aliases: []string{"w"}, Usage: usage}
}

// interval returns what -w says and whether it was given; without it a second.
func (c *call) interval() (time.Duration, bool, error) {
	if !c.flags.IsSet("watch") {
		return time.Second, false, nil
	}
	text := c.flags.String("watch")
	interval, err := time.ParseDuration(text)
	if err == nil && interval < shortestInterval {
		err = fmt.Errorf("shorter than %v", shortestInterval)
	}
	if err != nil {
		return 0, true, &policy.InputError{What: fmt.Sprintf("-w %q is no interval of %v or longer", text, shortestInterval), Hint: "xdpallow " + c.name + " -w 1s"}
	}
	return interval, true, nil
}

// every calls ask now and at every interval, until ctx ends or ask fails. It returns ask's
// error; the end of ctx is no error.
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
