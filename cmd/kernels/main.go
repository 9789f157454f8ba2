// Command kernels runs static test binaries under other kernels than the one
// that is running, because a verifier that accepts a program on one kernel may
// refuse it on the next:
//
//	CGO_ENABLED=0 go test -c -o /tmp/netlab.test ./loader/netlab
//	go run ./cmd/kernels -modules veth 6.1 6.12 -- /tmp/netlab.test -test.v
//
// Kernels are Debian's, fetched with apt into $XDPALLOW_KERNELS (by default
// xdpallow-kernels in the user's cache folder) and booted under QEMU with an
// initramfs that holds this tool as init, the modules and the binaries. Several
// binaries are separated by "+". Needs root only to install QEMU, where it is
// missing.
//
// Their output is passed through; one line a kernel ends it. The exit status is
// 0 only if every binary exited with 0 under every kernel: a kernel that cannot
// be had is a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options is what the command line says.
type options struct {
	kernels  []string
	commands [][]string // path on this machine, arguments
	modules  []string
	env      []string
	copies   []string // "HOSTPATH=GUESTPATH"
	arch     *architecture
	init     string // this tool for that processor, "" is the running binary
	dir      string
	disk     string // device of a root to boot, for the tests of machines
	timeout  time.Duration
	accel    string
	nic      string // model of two NICs, "" is none
	generic  bool   // the flavour that has e1000 and igb
	cpus     int
	memory   int // MiB
}

func main() {
	if os.Getpid() == 1 {
		runGuest() // never returns
	}
	opts, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels: error:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	failed := runAll(ctx, opts)
	stop()
	if failed {
		os.Exit(1)
	}
}

// runAll runs the binaries under each kernel, also after one has failed.
func runAll(ctx context.Context, opts *options) (failed bool) {
	var summary []string
	for _, version := range opts.kernels {
		start := time.Now()
		release, code, err := runOne(ctx, opts, version)
		result := "ok"
		switch {
		case err != nil:
			result = err.Error()
		case code != 0:
			result = fmt.Sprintf("exit %d", code)
		}
		failed = failed || result != "ok"
		summary = append(summary, fmt.Sprintf("kernels: %s: %s (%.1fs)", release, result, time.Since(start).Seconds()))
	}
	fmt.Println(strings.Join(summary, "\n"))
	return failed
}

// runOne returns the exit status of the first binary that failed, or 0.
func runOne(ctx context.Context, opts *options, version string) (release string, code int, err error) {
	if err := installTools(ctx, opts.arch.tools()); err != nil {
		return version, 0, err
	}
	kernel, err := fetch(ctx, opts.arch, version, opts.generic)
	if err != nil {
		return version, 0, err
	}
	image, err := os.CreateTemp("", "kernels-*.cpio")
	if err != nil {
		return kernel.release, 0, err
	}
	defer os.Remove(image.Name())
	defer image.Close()
	if err := writeInitramfs(ctx, image, kernel, opts); err != nil {
		return kernel.release, 0, err
	}
	code, err = boot(ctx, kernel, image.Name(), opts)
	return kernel.release, code, err
}

func parse(args []string) (*options, error) {
	opts := &options{}
	flags := flag.NewFlagSet("kernels", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: kernels [flags] VERSION... -- BINARY [ARG]... [+ BINARY [ARG]...]...")
		flags.PrintDefaults()
	}
	modules := flags.String("modules", "veth", "kernel `modules` to load, with what they depend on")
	appendTo := func(list *[]string) func(string) error {
		return func(value string) error {
			if !strings.Contains(value, "=") {
				return errors.New("want NAME=VALUE")
			}
			*list = append(*list, value)
			return nil
		}
	}
	flags.Func("env", "`NAME=VALUE` for the binaries' environment; repeatable", appendTo(&opts.env))
	flags.Func("copy", "`PATH=GUESTPATH`: a file or folder to take along; repeatable", appendTo(&opts.copies))
	arch := flags.String("arch", "amd64", "`processor` of the guest: amd64 or arm64")
	flags.StringVar(&opts.init, "init", "", "`path` of this tool, built for the guest's processor; needed for another one than this machine's")
	flags.StringVar(&opts.dir, "dir", "/tmp", "working `directory` in the guest")
	flags.DurationVar(&opts.timeout, "timeout", 5*time.Minute, "limit for one kernel")
	flags.StringVar(&opts.accel, "accel", "tcg", "QEMU accelerator; kvm only where the CPU has it natively")
	flags.StringVar(&opts.nic, "nic", "", "QEMU `model` of two NICs on one segment: virtio-net-pci, vmxnet3, e1000e")
	flags.BoolVar(&opts.generic, "generic", false, "take the kernel flavour with all drivers instead of the cloud one")
	flags.IntVar(&opts.cpus, "cpus", 2, "processors of the guest")
	flags.IntVar(&opts.memory, "memory", 768, "memory of the guest in `MiB`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if opts.arch = architectures[*arch]; opts.arch == nil {
		return nil, fmt.Errorf("-arch %s: there are amd64 and arm64", *arch)
	}
	if !opts.arch.native() && opts.init == "" {
		return nil, fmt.Errorf("-arch %[1]s needs -init (GOARCH=%[1]s CGO_ENABLED=0 go build -o PATH ./cmd/kernels)", *arch)
	}
	opts.modules = strings.FieldsFunc(*modules, func(r rune) bool { return r == ',' })

	kernels, commands, err := split(flags.Args())
	opts.kernels, opts.commands = kernels, commands
	return opts, err
}

// split takes "VERSION... -- BINARY [ARG]... + BINARY [ARG]..." apart.
func split(args []string) (kernels []string, commands [][]string, err error) {
	dashes := slices.Index(args, "--")
	if dashes < 1 {
		return nil, nil, errors.New("no kernel version before -- (usage: kernels [flags] VERSION... -- BINARY [ARG]...)")
	}
	command := []string{}
	for _, arg := range append(args[dashes+1:], "+") {
		if arg != "+" {
			command = append(command, arg)
			continue
		}
		if len(command) == 0 {
			return nil, nil, errors.New("no binary to run")
		}
		commands = append(commands, command)
		command = []string{}
	}
	return args[:dashes], commands, nil
}
