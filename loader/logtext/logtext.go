// Package logtext says entries, services and callers in the words of the log.
package logtext

import (
	"fmt"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// OpenTo says "tcp/443 open to 3 prefixes", of one service; of several each has a line of
// its own, see OpenEach.
func OpenTo(s policy.State) string {
	services := s.Services
	if len(services) != 1 {
		return policy.Count(len(services), "service", "services")
	}
	ports := strings.ReplaceAll(policy.JoinPorts(services[0].Ports), ",", ", ")
	return fmt.Sprintf("%s open to %s", ports, policy.Count(s.Entries.Len(), "prefix", "prefixes"))
}

// OpenEach says of each of several services what it guards and to how many it is open.
func OpenEach(s policy.State) []string {
	services := s.Services
	if len(services) == 1 {
		return nil
	}
	open := make(map[string]int, len(services))
	for entry := range s.Entries.All() {
		for _, name := range entry.Services() {
			open[name]++
		}
		if len(entry.Services()) == 0 {
			open[""]++
		}
	}
	var lines []string
	for _, service := range services {
		lines = append(lines, fmt.Sprintf("service %s, open to %s", service, policy.Count(open[service.Name]+open[""], "prefix", "prefixes")))
	}
	return lines
}

// Services says what services guard, and how.
func Services(services []policy.Service) string {
	var words []string
	for _, s := range services {
		words = append(words, fmt.Sprintf("%s %v %s, drop %s", s.Name, policy.PortRanges(s.Ports), s.Mode, s.Scope))
	}
	return strings.Join(words, "; ")
}

// Claims says whose prefixes claims are about.
func Claims(claims []policy.Claim) string {
	const most = 3
	var names []string
	for _, claim := range claims[:min(len(claims), most)] {
		name := claim.Prefix.String()
		if claim.Owner != "" {
			name += " (" + claim.Owner + ")"
		}
		names = append(names, name)
	}
	if more := len(claims) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// Entries is Claims of the prefixes and owners of entries.
func Entries(entries []policy.Entry) string {
	var claims []policy.Claim
	for _, entry := range entries {
		claims = append(claims, policy.Claim{Prefix: entry.Prefix, Owner: entry.Owner()})
	}
	return Claims(claims)
}

// Caller is what the log says of a caller beside what he did, as keys and values.
func Caller(by api.Caller) []any {
	who := []any{"uid", by.UID, "pid", by.PID}
	if by.LoginUID != nil && *by.LoginUID != by.UID {
		who = append(who, "login", *by.LoginUID)
	}
	return who
}
