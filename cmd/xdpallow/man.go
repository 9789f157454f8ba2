package main

// This file makes the man page, from the commands themselves.

import "fmt"

// manual is the man page in roff, for section 8.
func manual(e env) (string, error) {
	app := newApp(e)
	app.Description = "Every command takes -o json. Exit codes: 0 done, 1 refused or failed, 2 wrong input, 3 no daemon answers, 4 not permitted; of check: 0 passes, 1 dropped, 2 anything else."
	for _, command := range app.Commands {
		if command.ArgsUsage != "" {
			command.UsageText = fmt.Sprintf("xdpallow %s [flags] %s", command.Name, command.ArgsUsage)
		}
	}
	return app.ToManWithSection(8)
}
