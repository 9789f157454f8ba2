package main

// This file is `list -o nginx` and `list -o haproxy`: the list for proxies that keep a copy.

import (
	"context"
	"slices"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/spool"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// listTable prints the list in the format of a proxy, if that was asked for. It prints all or
// nothing: a proxy would refuse whoever is missing.
func (c *call) listTable(ctx context.Context) (done bool, err error) {
	format, service := c.flags.String("output"), c.flags.String("service")
	if !slices.Contains(api.TableFormats, format) {
		if c.flags.IsSet("service") {
			err = &policy.InputError{What: "list --service is for the formats nginx and haproxy", Hint: "xdpallow list -o nginx --service " + quote(service)}
		}
		return false, err
	}
	for _, flag := range []string{"owner", "unused", "expiring", "expired"} {
		if c.flags.IsSet(flag) || c.flags.NArg() > 0 {
			return false, &policy.InputError{What: "a proxy needs the whole list, or refuses whom it does not find", Hint: "xdpallow list -o " + format}
		}
	}
	if service != "" {
		if err := policy.ParseName("service", service); err != nil {
			return false, c.renamed("service", service, err)
		}
	}
	text, err := spool.New("")
	if err != nil {
		return false, err
	}
	defer text.Close()
	if _, err = daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (struct{}, error) {
		return struct{}{}, from.Table(ctx, format, service, text)
	}); err != nil {
		return false, err
	}
	return true, text.CopyTo(c.out)
}
