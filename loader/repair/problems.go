package repair

// This file says of problems what they mean for the gate.

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
)

// GenericCost is what it means that an interface is guarded generically.
const GenericCost = "a dropped packet costs many times what it would natively"

// harmless are the problems that leave the gate shut.
var harmless = []string{
	"interface_not_named", "origin_failing", "service_missing", "metrics", "clock_stepped", "state_torn", "state_damaged", "state_open", "state_unwritable", "interface_missing", "list_behind", "change_log", "use_behind",
	"held", "kept_shut", "rollback_failed", "repaired", "events", "udp_unguarded", "origin_pending", "origin_stale", "claims_aside", "fleet_changed", "fleet_older", "source_routes", "port_shared", "mtu", "program_kept", "owner_socket", "owner_address", "enrol_socket",
}

// Enforcing is a result: nothing that we looked at lets an unlisted source in. An
// interface that is not there lets nobody in either, but one must be guarded.
func Enforcing(problems []api.Problem) bool {
	return !slices.ContainsFunc(problems, func(p api.Problem) bool { return !slices.Contains(harmless, p.Code) })
}

// Compare orders problems by code, subject and text.
func Compare(a, b api.Problem) int {
	return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Text, b.Text))
}

// NotAttached is the problem of an interface to guard to which nothing can be attached, or
// that is not there.
func NotAttached(name string, err error) api.Problem {
	if errors.Is(err, os.ErrNotExist) {
		return missing(name)
	}
	p := api.Problem{Code: "interface_not_attached", Subject: name, Text: strings.TrimPrefix(err.Error(), name+": "), Hint: "ip -br link"}
	var foreign *loader.ForeignError
	var hinting interface{ Hint() string }
	if errors.As(err, &hinting) {
		p.Hint = hinting.Hint()
	}
	if errors.As(err, &foreign) {
		p.Code = "interface_taken"
	}
	return p
}

// missing is the problem of an interface that is not there. Nobody comes in by it.
func missing(name string) api.Problem {
	return api.Problem{
		Code: "interface_missing", Subject: name,
		Text: "there is no such interface; it is guarded as soon as there is", Hint: "ip -br link",
	}
}
