// This file is the table of keys, and how each key is read.

package config

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Parse reads text as the config file at path, and no file that it names. Errors are those of Read.
func Parse(path string, text []byte) (File, error) { return parse(path, text, false) }

func parse(path string, text []byte, looks bool) (File, error) {
	r := reader{path: path, dir: filepath.Dir(path), looks: looks}
	var f File
	if root := r.document(text); root != nil {
		r.mapping(root, "the file", []key{
			{"interfaces", func(n *yaml.Node) { f.Interfaces = r.interfaces(n) }},
			{"services", func(n *yaml.Node) { f.Services = r.services(n) }},
			{"allow", func(n *yaml.Node) { f.Claims, f.Warnings = r.allow(n) }},
			{"allow_files", func(n *yaml.Node) {
				for _, item := range r.list(n, "allow_files") {
					if file := r.file(item, "allow_files"); file != "" {
						f.Files = append(f.Files, file)
					}
				}
			}},
			{"origins", func(n *yaml.Node) { f.Origins = r.origins(n) }},
			{"owners", func(n *yaml.Node) { f.Probe.Allowed = r.owners(n) }},
			{"attach", func(n *yaml.Node) { f.Attach = r.choice(n, "attach", "auto", "native", "generic") }},
			{"backstop", func(n *yaml.Node) { f.Backstop = r.choice(n, "backstop", "on", "off") }},
			{"state", func(n *yaml.Node) { f.State = r.file(n, "state") }},
			{"socket", func(n *yaml.Node) { f.Socket = r.file(n, "socket") }},
			{"bpffs", func(n *yaml.Node) { f.Bpffs = r.file(n, "bpffs") }},
			{"metrics", func(n *yaml.Node) { f.Metrics = r.hostPort(n, "metrics") }},
			{"web_config_file", func(n *yaml.Node) { f.WebConfig = r.file(n, "web_config_file") }},
			{"owner", func(n *yaml.Node) { f.Owner = r.owner(n) }},
			{"enrol", func(n *yaml.Node) { f.Enrol = r.enrol(n) }},
			{"log_format", func(n *yaml.Node) { f.LogFormat = r.choice(n, "log_format", "text", "json") }},
			{"keep_ended", func(n *yaml.Node) { f.KeepEnded = r.duration(n, "keep_ended") }},
		})
		r.served(f.Services)
		f.Probe.Hosts = r.serves
	}
	return f, r.err()
}

func (r *reader) duration(n *yaml.Node, what string) time.Duration {
	text, ok := r.text(n, what)
	if !ok {
		return 0
	}
	lasts, err := policy.ParseDuration(text)
	r.check(n, err)
	return lasts
}

func (r *reader) interfaces(n *yaml.Node) []string {
	var names []string
	for _, item := range r.list(n, "interfaces") {
		if name, ok := r.text(item, "interfaces"); ok && r.check(item, policy.ParseGuarded(name)) {
			names = append(names, name)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

func (r *reader) services(n *yaml.Node) []policy.Service {
	var services []policy.Service
	holders := map[policy.Port]string{}
	r.each(n, "services", func(name, value *yaml.Node) {
		if !r.check(name, policy.ParseName("service", name.Value)) {
			return
		}
		s := policy.Service{Name: name.Value, Mode: policy.Enforce, Scope: policy.ScopeSYN}
		before := r.count
		r.mapping(value, "service "+s.Name, []key{
			{"ports", func(n *yaml.Node) { s.Ports = r.ports(n, s.Name, holders) }},
			{"mode", func(n *yaml.Node) { s.Mode = policy.Mode(r.choice(n, "mode", words(policy.Modes)...)) }},
			{"drop", func(n *yaml.Node) { s.Scope = policy.Scope(r.choice(n, "drop", words(policy.Scopes)...)) }},
			{"host", func(n *yaml.Node) { r.host(n, s.Name) }},
		})
		if r.count == before && len(s.Ports) == 0 {
			r.fail(name, "", "service %s has no port", s.Name)
		}
		services = append(services, s)
	})
	if r.count > 0 {
		return nil // with a part of the services only a part of the ports would be protected
	}
	services, err := policy.NewServices(services)
	r.check(n, err)
	return services
}

func words[T ~string](choices []T) []string {
	var words []string
	for _, choice := range choices {
		words = append(words, string(choice))
	}
	return words
}

// ports reads the ports of a service. holders has the ports of the services before it.
func (r *reader) ports(n *yaml.Node, service string, holders map[policy.Port]string) []policy.Port {
	var ports []policy.Port
	for _, item := range r.list(n, "ports") {
		if item.Kind != yaml.ScalarNode {
			r.fail(item, "", "ports holds %s, not N, tcp/N, udp/N or a range as 30000-32767", kind(item))
			continue
		}
		some, err := policy.ParsePorts(item.Value)
		if err != nil {
			r.fail(item, "", "%v", err)
			continue
		}
		taken := slices.IndexFunc(some, func(p policy.Port) bool { return holders[p] != "" && holders[p] != service })
		if taken >= 0 {
			r.fail(item, "", "port %s is in service %s and in service %s", some[taken], holders[some[taken]], service)
			continue
		}
		for _, port := range some {
			holders[port] = service
		}
		ports = append(ports, some...)
	}
	return ports
}

// file reads a path, and makes it absolute.
func (r *reader) file(n *yaml.Node, key string) string {
	path, ok := r.text(n, key)
	if !ok {
		return ""
	}
	if path == "" {
		r.fail(n, "", "%s is empty", key)
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.dir, path)
	}
	return filepath.Clean(path)
}

func (r *reader) hostPort(n *yaml.Node, key string) string {
	text, ok := r.text(n, key)
	if !ok {
		return ""
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		r.fail(n, "", "%s %.64q is not HOST:PORT, as 127.0.0.1:9100", key, text)
		return ""
	}
	return text
}

// choice reads one of a few words.
func (r *reader) choice(n *yaml.Node, key string, choices ...string) string {
	text, ok := r.text(n, key)
	if ok && !slices.Contains(choices, text) {
		r.fail(n, "", "%s %.64q is not %s", key, text, strings.Join(choices, " or "))
		return ""
	}
	return text
}
