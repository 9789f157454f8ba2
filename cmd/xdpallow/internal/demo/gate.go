// Package demo shows the whole job on real packets to somebody who has never seen it, in network
// namespaces that it makes and removes. Each step says first what it expects; where something else
// happens the demo ends with an error.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Gate shows the job on one host, and writes what happens to out. It needs root.
func Gate(ctx context.Context, out io.Writer) (err error) {
	d := &demonstration{out: out}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(); err != nil {
		return err
	}
	return inSteps(ctx, out, []step{
		{"the API without a gate: anybody is served", d.ungated},
		{"the gate goes up for one customer", d.run},
		{"the customer is served, a stranger is not", d.gated},
		{"the stranger becomes a customer", d.add},
		{"and is one no longer; what was open lives on", d.remove},
		{"a flood from random sources, none of them listed; a fifth from one /24", d.flood},
		{"what happened, and who it was", d.stats},
		{"the daemon is killed: the gate stays shut", d.kill},
		{"only detach opens it", d.detach},
	})
}

type step struct {
	title string
	do    func(context.Context) error
}

func inSteps(ctx context.Context, out io.Writer, steps []step) error {
	for i, step := range steps {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, title(step.title))
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.title, err)
		}
	}
	fmt.Fprintln(out, "\nEverything went as told; the namespaces are gone.")
	return nil
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

const port = 8443

var (
	customer = netlab.Listed4
	stranger = netlab.Unlisted4
	talker   = netip.MustParsePrefix("198.18.7.0/24") // sends a fifth of the flood
)

// demonstration is a lab with an API, and the gate in front of it.
type demonstration struct {
	out    io.Writer
	name   string // of the host; "" is that of this machine
	dir    string // of state, socket and pins
	lab    *netlab.Lab
	server *netlab.Server
	api    netip.AddrPort
	daemon *process
}

func (d *demonstration) open() (err error) {
	if d.dir, err = os.MkdirTemp("", "xdpallow-demo-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if d.lab, err = netlab.New("demo"); err != nil {
		return err
	}
	d.api = netip.AddrPortFrom(d.lab.Link("eth0").Host4, port)
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	if d.server, err = d.lab.Host.ServeHTTP(d.api.String(), answer); err != nil {
		return err
	}
	d.say("A host (namespace %s) with a real HTTP API on %s,", d.lab.Host.Name, d.api)
	d.say("and a wire (namespace %s) with a customer, %s, and a stranger, %s.", d.lab.Wire.Name, customer, stranger)
	return nil
}

// close removes everything, in the order in which nothing is in use any more.
func (d *demonstration) close() error {
	var errs []error
	if d.daemon != nil {
		errs = append(errs, d.daemon.stop(unix.SIGKILL))
	}
	if d.server != nil {
		errs = append(errs, d.server.Close())
	}
	if d.lab != nil {
		errs = append(errs, d.lab.Close())
	}
	if d.dir != "" {
		if err := unix.Unmount(d.pins(), 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", d.pins(), err))
		}
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

func (d *demonstration) pins() string   { return filepath.Join(d.dir, "bpf") }
func (d *demonstration) socket() string { return filepath.Join(d.dir, "socket") }

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.out, "   "+format+"\n", args...)
}

func (d *demonstration) ungated(context.Context) error {
	return errors.Join(d.expectServed("customer", customer), d.expectServed("stranger", stranger))
}

func (d *demonstration) run(ctx context.Context) (err error) {
	d.daemon, err = d.startDaemon(ctx, "--interface", "eth0", "--port", fmt.Sprint(port), "--allow", netlab.ListedPrefix4.String())
	return err
}

func (d *demonstration) gated(context.Context) error {
	return errors.Join(d.expectServed("customer", customer), d.expectDropped("stranger", stranger))
}

// soon is how long after add has returned an entry may still not be in force.
const soon = 100 * time.Millisecond

func (d *demonstration) add(ctx context.Context) error {
	if err := d.command(ctx, "add", stranger.String(), "--owner", "acme", "--note", "OPS-1234"); err != nil {
		return err
	}
	start := time.Now()
	outcome, err := d.lab.Wire.Knock(stranger, d.api, time.Second)
	if took := time.Since(start); outcome != netlab.Connected || took > soon {
		return fmt.Errorf("a connect begun after add returned: %v after %v, %w", outcome, took, orSurprise(err))
	}
	d.say("a connect begun after that: %v within %v", outcome, soon)
	return d.expectServed("stranger", stranger)
}

// remove shows that an open connection lives on when its source is removed.
func (d *demonstration) remove(ctx context.Context) error {
	conn, err := d.lab.Wire.DialContext(ctx, "tcp", stranger, d.api.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := d.command(ctx, "remove", stranger.String()); err != nil {
		return err
	}
	if err := d.expectDropped("stranger", stranger); err != nil {
		return err
	}
	if err := request(conn, d.api.String()); err != nil {
		return fmt.Errorf("the open connection died: %w", err)
	}
	d.say("stranger  on the connection that was open: 200 OK")
	return nil
}

// quiet waits until the connections of earlier steps have ended, and returns how many
// segments TCP has received by then.
func (d *demonstration) quiet(ctx context.Context) (uint64, error) {
	before, err := d.lab.Host.TCPInSegs()
	for err == nil {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(300 * time.Millisecond): // longer than Linux delays an ACK
		}
		var now uint64
		if now, err = d.lab.Host.TCPInSegs(); now == before {
			break
		}
		before = now
	}
	return before, err
}

// flood sends SYNs and shows the counter meanwhile. TCP must not receive any.
func (d *demonstration) flood(ctx context.Context) error {
	before, err := d.quiet(ctx)
	if err != nil {
		return err
	}
	counted, err := d.dropped(ctx)
	if err != nil {
		return err
	}
	done := make(chan netlab.Flooded, 1)
	failed := make(chan error, 1)
	go func() {
		sent, err := d.lab.Link("eth0").Flood(ctx, netlab.Flood{
			Sources: netip.MustParsePrefix("16.0.0.0/4"), Talker: talker, Target: d.api, Count: 600_000, Rate: 150_000, Seed: 1,
		})
		failed <- err
		done <- sent
	}()
	for {
		select {
		case err := <-failed:
			if err != nil {
				return err
			}
			return d.flooded(ctx, <-done, before, counted)
		case <-time.After(500 * time.Millisecond):
			now, err := d.dropped(ctx)
			if err != nil {
				return err
			}
			d.say("dropped so far: %7d", now-counted)
		}
	}
}

func (d *demonstration) flooded(ctx context.Context, sent netlab.Flooded, segments, counted uint64) error {
	now, err := d.dropped(ctx)
	if err != nil {
		return err
	}
	after, err := d.lab.Host.TCPInSegs()
	if err != nil {
		return err
	}
	d.say("sent %d SYNs in %.1f s; %d dropped in the driver; %d reached TCP", sent.Arrived(), sent.Elapsed.Seconds(), now-counted, after-segments)
	if now-counted != sent.Arrived() || after != segments {
		return errors.New("the counter and the flood differ, or TCP saw some of it")
	}
	return d.expectServed("customer", customer)
}

// stats shows the counters, and finds the prefix that sent a fifth of the flood.
func (d *demonstration) stats(ctx context.Context) error {
	if err := d.command(ctx, "stats"); err != nil {
		return err
	}
	var live api.Live
	if err := d.read(ctx, &live, "top"); err != nil {
		return err
	}
	for _, t := range live.Talkers.Prefixes {
		if t.Prefix == talker && t.Share > 0.1 && t.Share < 0.3 {
			d.say("%v sent %.0f %% of what was dropped, by %d samples of it", t.Prefix, 100*t.Share, t.Samples)
			return nil
		}
	}
	return fmt.Errorf("the talkers are %v, without %v and its fifth", live.Talkers.Prefixes, talker)
}

func (d *demonstration) kill(ctx context.Context) error {
	d.say("$ kill -9 %d", d.daemon.Process.Pid)
	if err := d.daemon.stop(unix.SIGKILL); err != nil {
		return err
	}
	d.daemon = nil
	return d.gated(ctx)
}

func (d *demonstration) detach(ctx context.Context) error {
	if err := d.command(ctx, "detach", "--yes"); err != nil {
		return err
	}
	return d.expectServed("stranger", stranger)
}
