package api

import (
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file is the words and limits that the engine and the CLI share.

// Soon is how long before its end an entry counts as expiring.
const Soon = 14 * 24 * time.Hour

// NoOwner stands for entries that have none; no owner can be called so.
const NoOwner = "-"

// EveryService is the word that stands for every service, unless one has that name.
const EveryService = "all"

// Never is the until of what does not end.
const Never = "never"

// DefaultSeen is how long ago an entry may have been used to be in use, for who does
// not say.
const DefaultSeen = "7d"

// LeadsGuests is why an interface in Status.Routed is not to be guarded like any other.
const LeadsGuests = "leads containers or VMs: guarded, it would drop their own connections"

// DefaultKeepEnded is how long an entry stays on the list after its end, for who does not
// say: until then check and list tell why its owner is dropped.
const DefaultKeepEnded = "7d"

// TableFormats are the proxies whose tables list prints.
var TableFormats = []string{"haproxy", "nginx"}

// InList is a command that changes what origin says, of the list of a fleet or of this host.
func InList(origin policy.Origin, command string) string {
	name, fleet := origin.Etcd()
	if !fleet {
		return "xdpallow " + command
	}
	if _, list, other := strings.Cut(name, "/"); other {
		command += " --list " + list
	}
	return "xdpallow fleet " + command
}
