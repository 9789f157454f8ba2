package main

// This file is `assets`, which prints the files of an installation. The binary carries them,
// so that they always fit its version.

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	//go:embed assets/xdpallow.service
	unit string

	//go:embed assets/xdpallow-enrol.service
	enrolUnit string

	//go:embed assets/config.yaml
	exampleConfig string

	//go:embed assets/api-dropin.conf
	apiDropin string

	//go:embed assets/dashboard.json
	dashboard string

	//go:embed assets/rules.yml
	rules string

	//go:embed assets/owner-dropin.conf
	ownerDropin string

	//go:embed assets/proxies/nginx.conf
	nginx string

	//go:embed assets/proxies/Caddyfile
	caddy string

	//go:embed assets/proxies/envoy.yaml
	envoy string

	//go:embed assets/proxies/traefik.yaml
	traefik string

	//go:embed assets/proxies/haproxy.cfg
	haproxy string
)

// defaultPath is where `make install` puts the command, and what the unit names.
const defaultPath = "/usr/local/bin/xdpallow"

// installedPath returns the path that the unit runs: asked, or that of this binary where it
// lies among installed programs. A unit that names a build directory would not start after the
// next clean.
func installedPath(asked string) string {
	if asked != "" {
		return asked
	}
	self, err := os.Executable()
	if err == nil && (strings.HasPrefix(self, "/usr/") || strings.HasPrefix(self, "/opt/")) {
		return self
	}
	return defaultPath
}

func assetsCommand(e env) *cli.Command {
	return e.command("assets", "Print a file that belongs to an installation", "unit|enrol-unit|config|api-dropin|owner-dropin|dashboard|rules|man|nginx|caddy|envoy|traefik|haproxy", []cli.Flag{
		&cli.PathFlag{Name: "path", Usage: "where `FILE`, the command, is installed, for units (default: this one)"},
	}, assets)
}

func assets(_ context.Context, c *call) error {
	installed := func(unit string) string {
		return strings.ReplaceAll(unit, defaultPath, installedPath(c.flags.Path("path")))
	}
	files := map[string]string{
		"unit": installed(unit), "enrol-unit": installed(enrolUnit), "config": exampleConfig,
		"api-dropin": apiDropin, "owner-dropin": ownerDropin, "dashboard": dashboard, "rules": rules,
		"nginx": nginx, "caddy": caddy, "envoy": envoy, "traefik": traefik, "haproxy": haproxy,
	}
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
			What: fmt.Sprintf("assets has no file %q: there are api-dropin, caddy, config, dashboard, enrol-unit, envoy, haproxy, man, nginx, owner-dropin, rules, traefik and unit", name),
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
