package main

// This file is `export` and `import`, which move what commands made to another host, or keep
// a copy of it.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/spool"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

func exportCommand(e env) *cli.Command {
	return e.command("export", "Write all that commands made, suspensions and limits too, for import", "[FILE|-]", append([]cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "write as comments also what flags and files declare; import leaves these to the config of its host"},
	}, offlineFlags()...), export)
}

func importCommand(e env) *cli.Command {
	return e.command("import", "Make what commands made equal an export: entries, suspensions, limits", "FILE|-", append(replaceFlags(),
		&cli.BoolFlag{Name: "allow-open", Usage: "end suspensions, and raise or end limits, that the file does not have"},
	), importing)
}

func export(ctx context.Context, c *call) error {
	if c.flags.NArg() > 1 {
		return &policy.InputError{What: "export needs one file, or none for stdout", Hint: "xdpallow export xdpallow.export"}
	}
	path := c.flags.Args().First()
	if path == "-" {
		path = "" // stdout
	}
	if path == "" && !c.json {
		_, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (struct{}, error) {
			return struct{}{}, from.Export(ctx, c.flags.Bool("all"), c.out)
		})
		return err
	}
	out := struct {
		File        string `json:"file"`
		Entries     int    `json:"entries"`
		Suspensions int    `json:"suspensions"`
		Limits      int    `json:"limits"`
	}{File: cmp.Or(path, "-")}
	named := func(err error) error {
		if path, ok := errors.AsType[*fs.PathError](err); ok { // of a temporary name
			err = path.Err
		}
		return fmt.Errorf("write the export to %s: %w", out.File, err)
	}
	text, err := spool.New(path)
	if err != nil {
		return named(err)
	}
	defer text.Close()
	if _, err = daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (struct{}, error) {
		return struct{}{}, from.Export(ctx, c.flags.Bool("all"), text)
	}); err != nil {
		return err
	}
	has, refused, err := transfer.Look(out.File, text)
	if err != nil {
		return named(err)
	}
	if refused != nil { // an earlier release accepted notes that this one refuses
		c.note("warning: import will refuse it until it is edited: %v", refused)
	}
	out.Entries, out.Suspensions, out.Limits = has.Entries, has.Suspensions, has.Limits
	if path == "" { // as JSON, where the text comes last
		head, err := json.MarshalIndent(out, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s,\n  \"text\": ", bytes.TrimSuffix(head, []byte("\n}")))
		if err := text.QuoteTo(c.out); err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, "\n}")
		return err
	}
	if err := text.Commit(); err != nil {
		return named(err)
	}
	if c.json {
		return c.printJSON(out)
	}
	_, err = fmt.Fprintf(c.out, "exported %s, %s and %s to %s\n", policy.Count(out.Entries, "prefix", "prefixes"),
		policy.Count(out.Suspensions, "suspension", "suspensions"), policy.Count(out.Limits, "limit", "limits"), out.File)
	return err
}

func importing(ctx context.Context, c *call) error {
	req, err := c.replaceRequest()
	if err != nil {
		return err
	}
	plan, err := control.Import.Ask(ctx, c.briefly(req.DryRun), api.ImportRequest{ReplaceRequest: req, AllowOpen: c.flags.Bool("allow-open")})
	if errors.Is(err, control.ErrNoDaemon) { // a mistake in the export is found all the same
		if _, bad := transfer.Read(req.Name, req.Text); bad != nil {
			return bad
		}
	}
	if err != nil {
		return err
	}
	return c.printPlan(plan, req.DryRun)
}
