// Package doctor says what an operator should know of a host before a gate is put up on
// it, and after. [Gather] reads the host, [Diagnose] judges what was read. What status
// calls a problem is said in the same words here.
package doctor

import (
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Options say what to look at.
type Options struct {
	Interfaces []string         // to guard; none is all that are up and have an address
	Services   []policy.Service // to protect
	Attach     loader.Mode      // Native makes a refusal of the driver a problem
	NoBackstop bool
	State      string // directory
	Root       string // of the pins
	Asked      string // where the caller took them to be, if a daemon has said where they are
	Config     string // of the daemon, "" is none
	ConfigErr  error  // why Config cannot be used
	Groups     []string
	Try        bool // attach a program to the interfaces and take it off again

	Status    *api.Status // of the daemon, or of pins and state without one; nil is neither
	StatusErr error       // why the daemon said nothing, where there may be one
}

// Facts are what was read of a host. An error beside a fact says that the fact is not
// known; one that is os.ErrPermission is the caller's, and no fault of the host.
type Facts struct {
	Options

	Privileged   bool // the caller is root
	Release      string
	Lacks        []string // that the kernel does not have, in words
	LacksErr     error
	Capabilities []string // that the caller does not have
	RootErr      error    // of the pin root

	Devices   []Device
	Uncovered []string // up, addressed, not to be guarded
	Routed    []string // of all interfaces, bridges that lead containers or VMs

	Lookups    []loader.Lookup
	LookupsErr error

	SourceRouted    []string
	SourceRoutedErr error
	UDPServers      []uint16
	UDPErr          error
	NoReversePath   []string // of the interfaces to guard, those with rp_filter off
	RouteLocalnet   []string // of the interfaces to guard, those that take 127.0.0.0/8
	Ephemeral       [2]int   // net.ipv4.ip_local_port_range
	Reserved        string   // net.ipv4.ip_local_reserved_ports
	Redirects       []string // rules that hand packets to another address or port
	RedirectsErr    error
	LegacyNAT       bool // there are rules that nft does not show

	Unsynchronised bool
	Now            time.Time

	StateMissing bool
	StateErr     error
	StateOthers  string // who else may write to it, in words
	StateRoom    error  // why nothing could be kept there
	NoGroups     []string

	Unit        string // path of the unit's file, "" is none
	UnitRuns    string // the program that it runs, "" where that is there
	UnitEnabled bool
}

// Device is an interface to guard. With an Err there may be no more than its name.
type Device struct {
	loader.Device
	Err   error
	Tried bool
	Trial error // what the driver said when it was tried
}
