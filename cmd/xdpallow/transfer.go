package main

// This file is `export` and `import`, which move what commands made to another host, or keep
// a copy of it.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
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
	if file := c.flags.Args().First(); (file == "" || file == "-") && !c.json {
		_, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (struct{}, error) {
			return struct{}{}, from.Export(ctx, c.flags.Bool("all"), c.out)
		})
		return err
	}
	text, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (string, error) {
		var text bytes.Buffer
		err := from.Export(ctx, c.flags.Bool("all"), &text)
		return text.String(), err
	})
	if err != nil {
		return err
	}
	out := struct {
		File        string `json:"file"`
		Entries     int    `json:"entries"`
		Suspensions int    `json:"suspensions"`
		Limits      int    `json:"limits"`
		Text        string `json:"text,omitempty"` // where there is no file
	}{File: c.flags.Args().First()}
	if out.File == "" || out.File == "-" {
		out.File, out.Text = "-", text
	}
	if _, err := transfer.Read(out.File, text); err != nil { // an earlier release accepted notes that this one refuses
		c.note("warning: import will refuse it until it is edited: %v", err)
	}
	for line := range strings.Lines(text) {
		switch word, _, _ := strings.Cut(line, " "); word {
		case "suspend":
			out.Suspensions++
		case "limit":
			out.Limits++
		case "#", "held", "stays":
		default:
			out.Entries++
		}
	}
	if out.Text == "" {
		if err := writeWhole(out.File, text); err != nil {
			if path, ok := errors.AsType[*fs.PathError](err); ok { // of a temporary name
				err = path.Err
			}
			return fmt.Errorf("write the export to %s: %w", out.File, err)
		}
	}
	if c.json {
		return c.printJSON(out)
	}
	_, err = fmt.Fprintf(c.out, "exported %s, %s and %s to %s\n", policy.Count(out.Entries, "prefix", "prefixes"),
		policy.Count(out.Suspensions, "suspension", "suspensions"), policy.Count(out.Limits, "limit", "limits"), out.File)
	return err
}

// writeWhole writes a file that only its owner may read, and replaces the old one when the new
// one is on disk. What is no regular file, as /dev/stderr, is written to directly.
func writeWhole(path, text string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, []byte(text), 0)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
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
