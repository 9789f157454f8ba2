package main

// This file runs the daemon: it puts the gate up, serves the control socket and Prometheus,
// and leaves the gate shut when it ends.

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/enrol"
	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/owner"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/offline"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
	"github.com/xdpallow/xdpallow/loader/verbs"
)

// gateOptions turns o into the options of the engine.
func (c *call) gateOptions(o options, log *slog.Logger) (reconcile.Options, error) {
	var services []policy.Service // none: those of the config file
	var err error
	if len(o.Ports) > 0 {
		services, err = policy.NewServices([]policy.Service{{
			Name: policy.DefaultService, Ports: o.Ports, Mode: o.Mode, Scope: o.Scope,
		}})
	}
	flags := ""
	if o.Socket != defaultSocket {
		flags = " --socket " + quote(o.Socket)
	}
	return reconcile.Options{
		Command: c.words(), HintFlags: flags,
		Sources: declared.Sources{
			Services: services, Allow: o.Allow, Files: o.AllowFiles, Config: o.Config,
			Backstop: o.Backstop, BackstopTyped: o.BackstopTyped, Force: o.Force, Log: log,
		},
		Interfaces: o.Interfaces, Attach: loader.Mode(o.Attach), State: o.State, Root: o.Bpffs,
		KeepEnded: o.KeepEnded, Version: buildVersion(),
	}, err
}

func runDaemon(ctx context.Context, c *call, o options) error {
	stderr := c.progress()
	stderr.silent = stderr.silent || o.LogFormat == "json"
	log := newLogger(stderr, o.LogFormat)
	slog.SetDefault(log)
	gate, err := c.gateOptions(o, log)
	if err != nil {
		return err
	}
	if o.DryRun {
		plan, err := offline.Preview(gate.Sources, gate.State)
		if err != nil {
			return err
		}
		return c.printPlan(plan, true)
	}
	// Checked before anything is touched, and again when the socket is made.
	if err := control.Free(o.Socket); err != nil {
		return err
	}
	var answers *owner.Handler // of the owner endpoint
	if o.Owner != (config.Owner{}) {
		gate.OwnerChecks = func(services []policy.Service) []api.OwnerCheck { return answers.Checks(services) }
	}
	var desk *enrol.Desk
	if gate.Enrol = o.Enrol; o.Enrol != nil {
		gate.Enrolments = func() []api.Enrolment { return desk.Counts() }
	}
	var engine *verbs.Engine
	gate.Follower = fleet.Followers(fleet.Self{Name: hostName(), Version: gate.Version, Report: func() fleet.Report { return reportOf(engine) }, Owners: func() map[string]time.Time { return ownersSeen(engine) }})
	engine, err = verbs.Open(gate)
	if err != nil {
		return err
	}
	answers, desk = owner.NewHandler(engine), enrol.NewDesk(engine, o.Enrol)
	// The pins stay and go on enforcing: the end of the daemon opens nothing.
	defer engine.Close()
	return serve(ctx, engine, answers, desk, o, log, stderr)
}

// serve runs until ctx ends or detach has released the last interface. The gate goes up
// first: whatever else fails must not leave the host open.
func serve(ctx context.Context, engine *verbs.Engine, answers *owner.Handler, desk *enrol.Desk, o options, log *slog.Logger, stderr *progress) error {
	// From the start: a SIGHUP that is not handled ends the process.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	done := stderr.waiting("putting the gate up")
	err := engine.Start(ctx)
	done()
	if err != nil {
		return err
	}
	listener, err := control.Listen(o.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	engine.Announce()

	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		if err := control.Serve(ctx, listener, served{engine}); err != nil {
			log.Error(fmt.Sprintf("control socket: %v", err))
		}
	})
	if o.Metrics != "" {
		running.Go(func() { metrics.Serve(ctx, o.Metrics, o.WebConfig, scrape{engine}, log) })
	}
	running.Go(func() { owner.Serve(ctx, o.Owner, answers, engine) })
	if o.Enrol != nil {
		running.Go(func() { desk.Serve(ctx, enrol.Socket(o.Socket)) })
	}
	running.Go(func() { reloadOnHangup(ctx, hangups, engine, log) })
	running.Go(func() { notifySystemd(ctx, engine, log) })
	engine.Run(ctx)
	return nil
}

// reloadOnHangup reads the config and list files again on SIGHUP, as reload does.
func reloadOnHangup(ctx context.Context, hangups <-chan os.Signal, engine *verbs.Engine, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			by := api.Caller{UID: uint32(os.Geteuid()), PID: int32(os.Getpid()), Command: "reload (SIGHUP)"}
			if _, err := engine.Reload(ctx, by, api.ReloadRequest{}); err != nil {
				log.Error(fmt.Sprintf("reload: nothing was changed: %v", err))
			}
		}
	}
}

// patience is how long systemd waits, with what it starts after this daemon, for a named
// interface that is not there.
const patience = 10 * time.Second

// notifySystemd tells systemd that the policy is enforced on every interface, and then again
// and again that the daemon is alive. That it is alive is an answer of the engine: this
// goroutine would go on when the engine hangs.
func notifySystemd(ctx context.Context, engine *verbs.Engine, log *slog.Logger) {
	if missing := engine.AwaitInterfaces(ctx, patience); len(missing) > 0 {
		log.Warn(fmt.Sprintf("ready without %s, waited %v", strings.Join(missing, ", "), patience))
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	ticks := time.NewTicker(interval / 2)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			engine.Alive()
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}
