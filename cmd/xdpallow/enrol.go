package main

// This file is `enrol`, the process without rights at which customers let themselves in.

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/enrol"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func enrolCommand(e env) *cli.Command {
	return e.command("enrol", "Let customers with a certificate let their own address in", "", []cli.Flag{
		&cli.StringFlag{Name: "listen", Value: ":8444", Usage: "serve customers on `ADDR`, a port that the gate does not guard"},
		&cli.PathFlag{Name: "cert", Usage: "show the certificate in `FILE`, PEM, with those that lead to its authority"},
		&cli.PathFlag{Name: "key", Usage: "the key of --cert in `FILE`, PEM"},
		&cli.PathFlag{Name: "clients", Usage: "the certificates of customers in `DIR`: OWNER.pem, and ca.pem of authorities, who may name anybody"},
	}, func(ctx context.Context, c *call) error {
		f := c.flags
		for _, flag := range []string{"cert", "key", "clients"} {
			if f.Path(flag) == "" {
				return &policy.InputError{
					What: "enrol needs --" + flag,
					Hint: "xdpallow enrol --cert cert.pem --key key.pem --clients /etc/xdpallow/enrol/clients",
				}
			}
		}
		if _, port, err := net.SplitHostPort(f.String("listen")); err != nil || port == "" {
			return &policy.InputError{What: fmt.Sprintf("--listen %q is not HOST:PORT", f.String("listen")), Hint: "xdpallow enrol --listen :8444"}
		}
		slog.SetDefault(newLogger(c.progress(), "text"))
		return enrol.Run(ctx, enrol.Options{
			Listen: f.String("listen"), Cert: f.Path("cert"), Key: f.Path("key"), Clients: f.Path("clients"),
			Socket: enrol.Socket(f.Path("socket")),
		})
	})
}
