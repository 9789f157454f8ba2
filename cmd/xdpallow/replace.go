package main

// This file is `replace`, which makes what add let in equal to a list.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func replaceCommand(e env) *cli.Command {
	return e.command("replace", "Let in what a list says, in place of all that add let in", "FILE|-", replaceFlags(), replace)
}

// replaceFlags are the flags that replace and import share.
func replaceFlags() []cli.Flag {
	return []cli.Flag{
		dryRunFlag(), confirmFlag(), seenFlag(), reasonFlag(),
		&cli.BoolFlag{Name: "force-shrink", Usage: "remove more than half of the prefixes"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "leave nobody who may connect"},
		&cli.BoolFlag{Name: "allow-any", Usage: "take a prefix wider than /8, or /19 for IPv6"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "with --dry-run list also what stays because flags and files declare it"},
	}
}

func replace(ctx context.Context, c *call) error {
	req, err := c.replaceRequest()
	if err != nil {
		return err
	}
	plan, err := control.Replace.Ask(ctx, c.briefly(req.DryRun), req)
	if errors.Is(err, control.ErrNoDaemon) { // a mistake in the list is found all the same
		if _, _, bad := policy.ParseList(req.Name, policy.OriginCLI, strings.NewReader(req.Text)); bad != nil {
			return bad
		}
	}
	if err != nil {
		return err
	}
	return c.printPlan(plan, req.DryRun)
}

// replaceRequest reads the flags and the argument of replace and import.
func (c *call) replaceRequest() (req api.ReplaceRequest, err error) {
	if name := c.name; c.flags.NArg() != 1 {
		return req, &policy.InputError{What: name + " needs one file, or - for stdin", Hint: "xdpallow " + name + " FILE --dry-run"}
	}
	req = api.ReplaceRequest{
		DryRun:      c.flags.Bool("dry-run"),
		ForceShrink: c.flags.Bool("force-shrink"),
		AllowEmpty:  c.flags.Bool("allow-empty"),
		AllowAny:    c.flags.Bool("allow-any"),
		Sessions:    c.sessions(),
	}
	if req.Seen, err = c.seen(); err != nil {
		return req, err
	}
	if req.Confirm, err = c.confirmWindow(); err != nil {
		return req, err
	}
	req.Name, req.Text, err = c.listText(c.flags.Args().First())
	return req, err
}

// listText reads a whole list, and returns it with its name for messages.
func (c *call) listText(path string) (name, text string, err error) {
	var from io.Reader = c.stdin
	if name = "stdin"; path != "-" {
		file, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return "", "", &policy.InputError{What: fmt.Sprintf("%s: there is no such file", path)}
		}
		if err != nil {
			return "", "", fmt.Errorf("read the list: %w", err)
		}
		defer file.Close()
		name, from = path, file
	}
	read, err := io.ReadAll(io.LimitReader(from, maxStdin+1))
	if err != nil {
		return "", "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(read) > maxStdin {
		return "", "", &policy.InputError{What: fmt.Sprintf("%s: more than %d MiB", name, maxStdin>>20), Hint: "xdpallow run --allow-file FILE"}
	}
	return name, string(read), nil
}
