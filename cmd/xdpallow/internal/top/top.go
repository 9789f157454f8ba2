// Package top is the live view of the gate: what is dropped and passed a second
// and why, who sends it, who nearly was let in, and whether customers are hurt.
// It asks a Source once a second and works out the rates itself, so that what it
// shows is what it counted and not what somebody promised.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Source reads the gate at one moment. It is never asked twice at a time.
type Source func(ctx context.Context) (api.Live, error)

// Options are how it is shown. The zero value is once a second, in colour.
type Options struct {
	Interval time.Duration // between two questions; 0 is a second
	NoColor  bool          // NO_COLOR in the environment says so too
}

// patience is how long a source may take. A daemon that is stopped would else
// leave a screen that looks alive.
const patience = 2 * time.Second

// Run shows source on the terminal out until a key on in, or the end of ctx, ends
// it; neither is an error. in and out should be terminals: what to print for a
// pipe is the caller's choice.
func Run(ctx context.Context, in io.Reader, out io.Writer, source Source, o Options) error {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	o.NoColor = o.NoColor || os.Getenv("NO_COLOR") != ""
	program := tea.NewProgram(newModel(asking(ctx, source), o),
		tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out))
	_, err := program.Run()
	switch {
	case err == nil, errors.Is(err, tea.ErrInterrupted), ctx.Err() != nil && !errors.Is(err, tea.ErrProgramPanic):
		return nil
	}
	return fmt.Errorf("show the live view: %w", err)
}

// asking makes one question to source a command of the program.
func asking(ctx context.Context, source Source) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		frame, err := source(ctx)
		return answer{frame, err, time.Now()}
	}
}
