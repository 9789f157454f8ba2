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

var (
	//go:embed assets/xdpallow.service
	unit string

	//go:embed assets/config.yaml
	exampleConfig string

	//go:embed assets/dashboard.json
	dashboard string

	//go:embed assets/rules.yml
	rules string
)

func assetsCommand(e env) *cli.Command {
	return e.command("assets", "Print a file that belongs to an installation", "unit|config|dashboard|rules|man", nil, assets)
}

func assets(_ context.Context, c *call) error {
	files := map[string]string{"unit": unit, "config": exampleConfig, "dashboard": dashboard, "rules": rules}
	name := c.flags.Args().First()
	text, found := files[name]
	if name == "man" {
		var err error
		if text, err = manual(c.env); err != nil {
			return fmt.Errorf("write the man page: %w", err)
		}
		found = true
	}
	if !found || c.flags.NArg() != 1 {
		return &policy.InputError{
			What: fmt.Sprintf("assets needs the name of one file, and %q is none: there are config, dashboard, man, rules and unit", name),
			Hint: "xdpallow assets unit >/etc/systemd/system/xdpallow.service",
		}
	}
	if c.json {
		return c.printJSON(struct {
			Name string `json:"name"`
			Text string `json:"text"`
		}{name, text})
	}
	_, err := io.WriteString(c.out, text)
	return err
}
