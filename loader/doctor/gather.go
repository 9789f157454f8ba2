package doctor

// This file reads the host. It changes nothing, but for what TryNative does.

import (
	"bufio"
	"cmp"
	"errors"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/needs"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/sockets"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Gather reads what Diagnose judges, in the network namespace of the caller. What cannot be
// read is an error among the facts.
func Gather(o Options) Facts {
	f := Facts{Options: o, Privileged: os.Geteuid() == 0, Now: time.Now(), Capabilities: needs.Capabilities()}
	f.Release = release()
	f.Lacks, f.LacksErr = needs.Kernel()
	f.RootErr = pins.CheckRoot(o.Root)
	f.devices()
	f.Lookups, f.LookupsErr = loader.OtherLookups(o.Root)
	f.SourceRouted, f.SourceRoutedErr = netdev.SourceRouted()
	f.UDPServers, f.UDPErr = sockets.UDPServers(slices.Collect(maps.Keys(repair.ForTCPAlone(o.Services))))
	f.sysctls()
	f.Redirects, f.RedirectsErr = redirects()
	f.LegacyNAT = legacyNAT()
	f.Unsynchronised = unsynchronised()
	f.state()
	for _, group := range o.Groups {
		if _, err := user.LookupGroup(group); err != nil {
			f.NoGroups = append(f.NoGroups, group)
		}
	}
	f.unit()
	return f
}

func (f *Facts) state() {
	info, err := os.Stat(f.State)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.StateMissing = true
	case err != nil:
		f.StateErr = err
	case !info.IsDir():
		f.StateErr = errors.New("it is no directory")
	default:
		f.StateOthers, f.StateRoom = store.Others(f.State), store.Room(f.State)
	}
}

func release() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// devices are what the interfaces to guard resolve to, or where none is named all that
// could be.
func (f *Facts) devices() {
	names := f.Interfaces
	interfaces, err := netdev.Read()
	all, routed := interfaces.Uncovered(nil)
	if f.Routed = routed; len(names) == 0 {
		names = all
	}
	var carriers []string
	for _, name := range names {
		found, nameErr := interfaces.Carriers(name)
		if err := cmp.Or(err, nameErr); err != nil {
			f.Devices = append(f.Devices, Device{Device: loader.Device{Device: netdev.Device{Name: name}}, Err: err})
		}
		carriers = append(carriers, found...)
	}
	slices.Sort(carriers)
	for _, name := range slices.Compact(carriers) {
		var d Device
		d.Device, d.Err = loader.Examine(f.Root, name)
		if f.Try && d.Err == nil && d.Attached == "" {
			d.Tried, d.Trial = true, loader.TryNative(name)
		}
		f.Devices = append(f.Devices, d)
	}
	if len(f.Interfaces) > 0 {
		f.Uncovered, _ = interfaces.Uncovered(carriers)
	}
}

func (f *Facts) sysctls() {
	everywhere := sysctl("ipv4/conf/all/rp_filter")
	for _, d := range f.Devices {
		if len(f.Interfaces) == 0 {
			break // they are many, and may all be as they should
		}
		if at := sysctl("ipv4/conf/" + d.Name + "/rp_filter"); at == "0" && everywhere == "0" {
			f.NoReversePath = append(f.NoReversePath, d.Name)
		}
		if sysctl("ipv4/conf/"+d.Name+"/route_localnet") == "1" || sysctl("ipv4/conf/all/route_localnet") == "1" && d.Up {
			f.RouteLocalnet = append(f.RouteLocalnet, d.Name)
		}
	}
	f.Ephemeral = portRange(sysctl("ipv4/ip_local_port_range"))
	f.Reserved = sysctl("ipv4/ip_local_reserved_ports")
}

// sysctl reads one below net; "" is none.
func sysctl(name string) string {
	text, _ := os.ReadFile(filepath.Join("/proc/sys/net", name))
	return strings.TrimSpace(string(text))
}

// unsynchronised reports whether nobody keeps the clock right.
func unsynchronised() bool {
	const timeError = 5 // TIME_ERROR of linux/timex.h
	state, err := unix.Adjtimex(&unix.Timex{})
	return err == nil && state == timeError
}

// unit looks for the unit where systemd does.
func (f *Facts) unit() {
	const name = "xdpallow.service"
	for _, dir := range []string{
		"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
	} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		f.Unit = path
		if program := runs(string(text)); program != "" {
			if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
				f.UnitRuns = program
			}
		}
		break
	}
	wanted, _ := filepath.Glob("/etc/systemd/system/*.wants/" + name)
	f.UnitEnabled = len(wanted) > 0
}

// runs is the program that a unit starts.
func runs(unit string) string {
	lines := bufio.NewScanner(strings.NewReader(unit))
	for lines.Scan() {
		if command, found := strings.CutPrefix(lines.Text(), "ExecStart="); found {
			program, _, _ := strings.Cut(strings.TrimLeft(command, "-@:+!"), " ")
			return program
		}
	}
	return ""
}
