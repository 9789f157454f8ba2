// Command xdpallow lets only known source prefixes open connections to the ports of an API.
// This package is its command line, with a file for each command. It parses, asks and prints;
// what can be decided in a package below is decided there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/doctor"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// env is everything outside the process that a command touches, so that a test can replace
// it.
type env struct {
	args           []string // as typed; args[0] is the program
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool    // stdin is a terminal: there is somebody to ask
	watched        bool    // stderr is a terminal
	columns        int     // of the terminal that stdout is, 0 where it is none
	screen         bool    // stdout is a terminal
	uid            int     // effective
	loginUID       *uint32 // who logged in, before sudo or su; nil where that is not known

	// sessions are the operator's own connections, which no change should cut.
	sessions func() []policy.Peer
	// logins are the connections of whoever is logged in over TCP.
	logins func() []policy.Peer
	// offline reads pins and state when no daemon answers.
	offline func(bpffs, state string) offlineEngine
	// examine reads this host.
	examine func(doctor.Options) doctor.Facts
	// daemon runs until ctx ends.
	daemon func(ctx context.Context, c *call, o options) error
}

func main() {
	columns, _, _ := term.GetSize(int(os.Stdout.Fd())) // 0 where it is no terminal
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, env{
		args:  os.Args,
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: term.IsTerminal(int(os.Stdin.Fd())),
		watched:  term.IsTerminal(int(os.Stderr.Fd())),
		screen:   term.IsTerminal(int(os.Stdout.Fd())),
		columns:  columns,
		uid:      os.Geteuid(),
		loginUID: impact.OwnLoginUID(),
		sessions: ownSessions,
		logins:   allLogins,
		offline:  openOffline,
		examine:  doctor.Gather,
		daemon:   runDaemon,
	})
	stop()
	os.Exit(code)
}

// ownSessions returns the sessions of whoever typed the command. A failure is a warning only.
func ownSessions() []policy.Peer {
	peers, err := impact.Sessions(os.Getpid())
	if err != nil {
		fmt.Fprintf(os.Stderr, "xdpallow: warning: %v\n", err)
	}
	return peers
}

// allLogins returns everybody's logins, as far as the caller may see them.
func allLogins() []policy.Peer {
	peers, err := impact.Logins()
	if err != nil {
		fmt.Fprintf(os.Stderr, "xdpallow: warning: %v\n", err)
	}
	return peers
}

// run executes the command line of e and returns the exit code.
func run(ctx context.Context, e env) int {
	e.args = commandFirst(e.args)
	app := newApp(e)
	err := app.RunContext(ctx, flagsFirst(app, e.args))
	printError(e, err)
	return exitCode(err)
}

// The exit codes. Scripts depend on them: never change one.
const (
	exitDone      = 0
	exitFailed    = 1 // refused or failed
	exitInput     = 2 // wrong input
	exitNoDaemon  = 3 // needs a daemon or etcd, none answers
	exitForbidden = 4
)

// errDropped is check's answer "dropped": an exit code, and no message.
var errDropped = errors.New("dropped")

// checkError is a failure of check, which exits with 2, because 1 means "dropped".
type checkError struct{ error }

func (e checkError) Unwrap() error { return e.error }

// exitCode returns the exit code for err. No other place chooses one.
func exitCode(err error) int {
	var input *policy.InputError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errForwards), errors.Is(err, errDropped), errors.Is(err, errMissing):
		return exitFailed
	case errors.As(err, new(checkError)), errors.As(err, &input):
		return exitInput
	case errors.Is(err, control.ErrNoDaemon), errors.Is(err, loader.ErrNoPins), errors.Is(err, fleet.ErrUnreachable):
		return exitNoDaemon
	case errors.Is(err, control.ErrForbidden), errors.Is(err, fleet.ErrForbidden), errors.Is(err, fs.ErrPermission):
		return exitForbidden
	}
	return exitFailed
}
