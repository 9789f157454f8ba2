package main

// Promise guarded here: the unit neither opens the host nor hides the pins
// and asks for no more than that needs.

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestUnit(t *testing.T) {
	code, text, _ := newWorld(t).run("assets", "unit")
	if code != 0 {
		t.Fatalf("exit %d", code)
	}
	lines := strings.Split(text, "\n")
	values := func(key string) (values []string) {
		for _, line := range lines {
			if value, ok := strings.CutPrefix(line, key+"="); ok {
				values = append(values, value)
			}
		}
		return values
	}
	for key, want := range map[string]string{
		"ExecStart":                "/usr/local/bin/xdpallow run --config /etc/xdpallow/config.yaml",
		"Type":                     "notify",
		"Restart":                  "on-failure",                     // detach ends the daemon with 0, and must stay detached
		"ExecReload":               "/usr/local/bin/xdpallow reload", // fails when it is refused
		"CapabilityBoundingSet":    "CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_CHOWN",
		"ReadWritePaths":           "-/sys/fs/bpf/xdpallow -/var/lib/xdpallow", // not there after a boot
		"StateDirectory":           "",                                         // would end the unit on a file system that is read-only
		"RequiresMountsFor":        "/sys/fs/bpf",
		"FileDescriptorStoreMax":   "2", // the sockets of the owner endpoint, over a restart
		"RuntimeDirectoryPreserve": "restart",
		"Environment":              "GOTRACEBACK=crash", // or a crash would be taken for wrong input
		"ExecStop":                 "",                  // stopping must not open the gate
		"ExecStopPost":             "",
		"PrivateNetwork":           "", // nor does it keep the daemon from the lists that it follows
		"IPAddressDeny":            "",
		"RestrictAddressFamilies":  "AF_UNIX AF_NETLINK AF_INET AF_INET6",
		"InaccessiblePaths":        "", // /etc/resolv.conf and what it points to, certificates
		"RootDirectory":            "",
		"PrivateUsers":             "",
		"MountFlags":               "",
		"Before":                   "network-pre.target shutdown.target",
		"SystemCallErrorNumber":    "EPERM",
		"RestartPreventExitStatus": "2",
	} {
		if got := strings.Join(values(key), "|"); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	// bpf is in @privileged: named before it, it is filtered out again.
	if filters := values("SystemCallFilter"); len(filters) != 3 || !strings.HasPrefix(filters[1], "~") || !strings.HasPrefix(filters[2], "bpf") {
		t.Errorf("SystemCallFilter: %q", filters)
	}
	for _, pre := range values("ExecStartPre") {
		if !strings.HasPrefix(strings.TrimPrefix(pre, "-"), "+") {
			t.Errorf("ExecStartPre=%s may not write to /sys", pre)
		}
		if strings.Contains(pre, "mount") {
			t.Errorf("ExecStartPre=%s: what it mounts nobody else sees, and pins die with the daemon", pre)
		}
	}
}

// Promise: the unit that strangers talk with has no rights but its group's, and little CPU; it outlives crashes.
func TestEnrolUnit(t *testing.T) {
	code, text, _ := newWorld(t).run("assets", "enrol-unit", "--path", "/usr/bin/xdpallow")
	if code != 0 {
		t.Fatalf("exit %d", code)
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
			values[key] += value
		}
	}
	for key, want := range map[string]string{
		"ExecStart": "/usr/bin/xdpallow enrol --listen :8444 --cert /etc/xdpallow/enrol/cert.pem --key ${CREDENTIALS_DIRECTORY}/key.pem --clients /etc/xdpallow/enrol/clients",
		"Type":      "notify", "Restart": "on-failure", "RestartPreventExitStatus": "2",
		"DynamicUser": "yes", "SupplementaryGroups": "xdpallow-enrol", "CPUQuota": "20%",
		"User":                  "xdpallow-enroller", // the group's name would need a user of that name
		"CapabilityBoundingSet": "", "AmbientCapabilities": "", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
		"ReadWritePaths": "", "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6", "SystemCallFilter": "@system-service~@resources @privileged",
	} {
		if values[key] != want {
			t.Errorf("%s=%s, want %s", key, values[key], want)
		}
	}
	if _, there := values["CapabilityBoundingSet"]; !there {
		t.Error("without a line of its own the process could have every capability")
	}
}

// Promise: help, man page, sample config and README name one address for metrics: what an
// operator scrapes is what he has configured.
func TestOneAddressForMetrics(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	_, help, _ := w.run("run", "--help")
	_, man, _ := w.run("assets", "man")
	_, config, _ := w.run("assets", "config")
	_, _, hint := w.run("run", "--interface", "eth0", "--port", "443", "--metrics", "nowhere")
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	for name, text := range map[string]string{"help": help, "man": man, "config": config, "hint": hint, "README": string(readme)} {
		found := address.FindAllString(strings.ReplaceAll(text, `\&`, ""), -1)
		if len(found) == 0 || slices.ContainsFunc(found, func(at string) bool { return at != "127.0.0.1:9463" }) {
			t.Errorf("%s names %q, want 127.0.0.1:9463", name, found)
		}
	}
}
