package declared

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: flags, config and list files add up; the config counts whole or not
// at all, and what it cannot change in a running daemon is named.
func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	path, list := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "a.list")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(list, "198.51.100.0/24\n")
	const services = "services: {web: {ports: [80]}}\n"
	flags := []policy.Service{{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce, Scope: policy.ScopeSYN}}
	for _, c := range []struct {
		text     string
		services []policy.Service // of flags
		want     string           // names of services, then origins with claims
		failing  string
	}{
		{services + "allow: [192.0.2.0/24]\nallow_files: [a.list]\n", nil, "web config file:a.list flag", ""},
		{services, nil, "web flag", ""},
		{"allow: [192.0.2.0/24]\n", flags, "api config flag", ""},
		{services + "allow: [192.0.2.0/24]\nallow_files: [a.list]\n", flags, "api file:a.list flag", "FILE: services stand here, and --port was given to run"},
		{"allow: [192.0.2.0/24]\n", nil, "flag", "FILE: no service, so nothing would be protected"},
		{services + "allow: [192.0.2.0/24, 10.0.0.5/8]\nallow_files: [a.list]\n", nil, "file:a.list flag", "FILE:2: 10.0.0.5/8 has host bits set"},
	} {
		write(path, c.text)
		sources := Sources{Config: path, Services: c.services, Allow: []string{"203.0.113.7"}, Log: slog.New(slog.DiscardHandler)}
		read, err := sources.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range read.Services {
			got = append(got, s.Name)
		}
		for _, origin := range []policy.Origin{policy.OriginConfig, policy.FileOrigin(list), policy.OriginFlag} {
			if len(read.Claims[origin]) > 0 {
				got = append(got, strings.ReplaceAll(string(origin), dir+"/", ""))
			}
		}
		failing := ""
		if err := read.Failing[policy.OriginConfig]; err != nil {
			failing = strings.ReplaceAll(err.Error(), path, "FILE")
		}
		if strings.Join(got, " ") != c.want || failing != c.failing || read.Settings == nil {
			t.Errorf("%q: %v, failing %q, want %s, %q", c.text, got, failing, c.want, c.failing)
		}
		if c.failing != "" {
			continue
		}
		write(path, c.text+"attach: native\n")
		began := *read.Settings
		if warnings := sources.Restart(read, began); len(warnings) > 0 {
			t.Errorf("nothing has changed: %q", warnings)
		}
		read, err = sources.Read(t.Context())
		if warnings := sources.Restart(read, began); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], ": attach changed;") {
			t.Errorf("another attach: %q, %v", warnings, err)
		}
	}
}
