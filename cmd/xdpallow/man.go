package main

// This file makes the man page: commands and flags from the commands themselves, and what an
// operator needs at night when the network is down.

import (
	"fmt"
	"strings"
)

// manual returns the man page for section 8, in roff.
func manual(e env) (string, error) {
	app := newApp(e)
	app.Description = "Every command takes -o json."
	for _, command := range app.Commands {
		if command.ArgsUsage != "" {
			command.UsageText = fmt.Sprintf("xdpallow %s [flags] %s", command.Name, command.ArgsUsage)
		}
		for _, sub := range command.Subcommands {
			sub.UsageText = strings.TrimSpace(fmt.Sprintf("xdpallow %s %s [flags] %s", command.Name, sub.Name, sub.ArgsUsage))
		}
	}
	page, err := app.ToManWithSection(8)
	if err != nil {
		return "", err
	}
	var more strings.Builder
	for _, section := range manSections {
		fmt.Fprintf(&more, "\n.SH %s\n", section.name)
		if section.text != "" {
			fmt.Fprintln(&more, roff(section.text))
		}
		for _, item := range section.items {
			fmt.Fprintf(&more, ".TP\n\\fB%s\\fP\n%s\n", roff(item[0]), roff(item[1]))
		}
		if section.typed != "" {
			fmt.Fprintf(&more, ".PP\n.nf\n%s\n.fi\n", roff(section.typed))
		}
	}
	return strings.TrimRight(page, "\n") + more.String(), nil
}

// roff escapes text, so that a formatter takes nothing in it for a request.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "\n.", "\n\\&.").Replace(text)
}

// manSection is a section of the man page: a text, then terms with their meanings, then lines
// to type.
type manSection struct {
	name, text string
	items      [][2]string
	typed      string
}

var manSections = []manSection{
	{
		name: "LIST FORMAT", text: "A list has an entry a line: a prefix or an address, then key=value in any order. " +
			"Keys are owner, service (several with commas; every service without it), until (a date, to its end in UTC, or an RFC 3339 time) " +
			"and note; a value with blanks stands in double quotes. What follows # is the note where there is none. " +
			"A line that is wrong refuses the whole list, with file:line. A prefix may stand there twice with the same words, whatever its comments. A directory is read as all of its *.list. " +
			"add -, replace FILE and list -o text speak the same format. An export has it, too, and lines that no list has: " +
			"suspend PREFIX|OWNER, limit OWNER RATE, and held and stays, which say what the suspension of an owner stops and what not.",
		typed: `203.0.113.0/24     owner=acme  until=2027-06-30   # office
2001:db8:42::/48   owner=acme  note="OPS-1234, the new building"
198.51.100.7       owner=globex  service=api`,
	},
	{name: "REASONS", text: "Why a packet passed or was dropped, as stats, events, top and check name it. " +
		"In audit what would be dropped passes, with the verdict audit.", items: [][2]string{
		{"not_ip", "Passes: neither IPv4 nor IPv6."},
		{"other_protocol", "Passes: neither TCP nor UDP, and nothing that could hide them."},
		{"other_port", "Passes: to a port that no service protects."},
		{"not_opening", "Passes: a segment of a connection that is open, or of none."},
		{"listed", "Passes: the source is listed."},
		{"malformed", "Dropped: broken headers cannot be judged."},
		{"too_deep", "Dropped: more tags or extension headers than are looked at."},
		{"source_route", "Dropped, from every source: a route that the sender chose, which can fake a source."},
		{"fragment", "Dropped: part of a TCP segment from an unlisted source; all but the first carry no port."},
		{"source_port_zero", "Dropped, from every source: no honest client sends from port 0."},
		{"not_listed", "Dropped: no entry covers the source. xdpallow check ADDR names the nearest."},
		{"expired", "Dropped: the entry of the source has ended. xdpallow add PREFIX --for 90d renews it."},
		{"wrong_service", "Dropped: the entry is for other services."},
		{"suspended", "Dropped: xdpallow suspend stopped the prefix or its owner; xdpallow resume lets it in."},
		{"rate_limited", "Dropped: listed, and over the limit of its owner. xdpallow owners shows it."},
		{"stray", "Dropped: a segment without a socket."},
		{"tunnel", "Dropped: a packet within a packet, which could hide a source."},
		{"unknown_protocol", "Dropped in scope strict: a protocol that could hide TCP or UDP."},
	}},
	{
		name: "EXAMPLES", text: "Look at the host, count first and drop nothing, then enforce; let a customer in, see what happens to a source, and " +
			"stop a stolen key; change files with a net below; keep a copy of what commands made.",
		typed: `xdpallow doctor --interface eth0 --port 443
xdpallow run --interface eth0 --port 443 --allow 203.0.113.0/24 --mode audit
xdpallow status
xdpallow add 198.51.100.0/28 --owner acme --for 90d --reason OPS-1234
xdpallow check 192.0.2.9
xdpallow list acme
xdpallow suspend acme --cut --reason 'OPS-1301, stolen key'
xdpallow resume acme
xdpallow reload --dry-run
xdpallow reload --confirm 60s
xdpallow confirm
xdpallow history -n 5
xdpallow export /root/xdpallow.export
xdpallow import /root/xdpallow.export --dry-run
xdpallow mode audit --for 15m
xdpallow probe acme --ports 443
xdpallow fleet add 198.51.100.0/28 --owner acme --config fleet.yaml
xdpallow fleet status --config fleet.yaml
xdpallow top`,
	},
	{name: "FILES", items: [][2]string{
		{"/etc/xdpallow/config.yaml", "What the unit names with --config; nothing under /etc is read that is not named. xdpallow assets config prints one."},
		{defaultSocket, "The control socket. Root may change; so may members of group xdpallow-admin who are in group xdpallow, whose members may ask."},
		{"/run/xdpallow/enrol.sock", "Where xdpallow enrol lets customers in, beside the control socket, for root and group xdpallow-enrol; only where the config file has enrol."},
		{"/etc/xdpallow/enrol", "What xdpallow-enrol.service names: its cert.pem and key.pem, and clients with OWNER.pem, the certificates of one customer, and perhaps ca.pem of authorities."},
		{defaultState, "What add, suspend and limit made, and the last good list, which is enforced after a reboot before any file is read."},
		{defaultState + "/changes.jsonl", "Who changed what, a JSON object a line, as history shows it."},
		{defaultBpffs, "The pinned programs and maps: they enforce without a daemon, until detach or a reboot."},
	}},
	{name: "ENVIRONMENT", items: [][2]string{
		{socketVariable, "The control socket, where no --socket says it."},
		{fleetVariable, "The file that says where the fleet is, where no --config does."},
	}},
	{name: "EXIT STATUS", items: [][2]string{
		{"0", "Done; of check: every port passes."},
		{"1", "Refused or failed; of check: dropped; of doctor: a problem; of probe: somebody forwards."},
		{"2", "Wrong input; of check: whatever is no answer."},
		{"3", "No daemon answers, and one is needed; of fleet: no etcd answers."},
		{"4", "Not permitted."},
	}},
	{name: "SEE ALSO", text: "systemctl(1), ss(8), bpftool(8), nft(8)"},
}
