package main

// Promise guarded here: a config file says what flags do not, a flag wins over the
// same key, and what both say at once is refused.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// configFile writes a config file; state is where no policy ever was.
func configFile(t *testing.T, text string) (path, dir string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("state: state\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, dir
}

const everyKey = `interfaces: [eth1, eth0]
services:
  api: {ports: [443], mode: audit, drop: strict}
allow: [192.0.2.0/24]
allow_files: [allow.d]
attach: generic
backstop: off
socket: run/socket
bpffs: /b
metrics: 127.0.0.1:9100
log_format: json
`

func TestConfigSaysWhatFlagsDoNot(t *testing.T) {
	path, dir := configFile(t, everyKey)
	w := newWorld(t)
	if code, _, stderr := w.run("run", "--config", path); code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	// Services, entries and files stay with the engine, which reads them again.
	want := options{
		Config: path, Interfaces: []string{"eth0", "eth1"}, Mode: policy.Enforce, Scope: policy.ScopeSYN, Attach: "generic", Backstop: "off",
		State: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "run/socket"), Bpffs: "/b",
		Metrics: "127.0.0.1:9100", LogFormat: "json",
	}
	w.ran[0].Allow = nil
	if diff := cmp.Diff(want, w.ran[0]); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}

	code, _, stderr := w.run("run", "--config", path, "--interface", "eth7", "--attach", "native", "--backstop=on", "--state", "/s",
		"--socket", "/c", "--bpffs", "/p", "--metrics", ":1", "--log-format", "text", "--allow", "198.51.100.7", "--allow-file", "/a.list")
	if code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	want = options{
		Config: path, Interfaces: []string{"eth7"}, Mode: policy.Enforce, Scope: policy.ScopeSYN, Attach: "native", Backstop: "on", BackstopTyped: true,
		Allow: []string{"198.51.100.7"}, AllowFiles: []string{"/a.list"},
		State: "/s", Socket: "/c", Bpffs: "/p", Metrics: ":1", LogFormat: "text",
	}
	if diff := cmp.Diff(want, w.ran[1]); diff != "" {
		t.Errorf("a flag does not win (-want +got):\n%s", diff)
	}
}

func TestConfigWithServiceOfFlags(t *testing.T) {
	path, _ := configFile(t, "interfaces: [eth0]\n")
	w := newWorld(t)
	if code, _, stderr := w.run("run", "--config", path, "--port", "443", "--mode", "audit", "--drop", "stray"); code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	if o := w.ran[0]; len(o.Ports) != 1 || o.Mode != policy.Audit || o.Scope != policy.ScopeStray || o.Backstop != "on" {
		t.Errorf("options are %+v", o)
	}
}

func TestConfigRefused(t *testing.T) {
	const service = "services: {api: {ports: [443]}}\n"
	for _, test := range []struct{ text, flags, what, hint string }{
		{everyKey, "--port 8443", "--port beside the services of FILE: set it there", "xdpallow assets config"},
		{everyKey, "--mode audit", "--mode beside the services of FILE: set it there", "xdpallow assets config"},
		{everyKey, "--drop strict", "--drop beside the services of FILE: set it there", "xdpallow assets config"},
		{service, "", "FILE: no interface, so nothing would be protected", "xdpallow assets config"},
		{"interfaces: [eth0]\n", "", "FILE: no service, so nothing would be protected", "xdpallow assets config"},
		{"interfaces: [eth0]\nservices: {}\n", "", "FILE: no service, so nothing would be protected", "xdpallow assets config"},
		{everyKey + "allow-files: []\n", "", "FILE:13: unknown key \"allow-files\": the keys of the file are interfaces, services, allow, allow_files, " +
			"origins, owners, attach, backstop, state, socket, bpffs, metrics, web_config_file, owner, enrol, log_format, keep_ended", ""},
		{"interfaces: [eth0]\n" + service + "allow: [10.0.0.5/8]\n", "", "FILE:4: 10.0.0.5/8 has host bits set", "edit FILE:4: write 10.0.0.0/8"},
	} {
		path, _ := configFile(t, test.text)
		w := newWorld(t)
		code, out, stderr := w.run(append([]string{"run", "--config", path}, strings.Fields(test.flags)...)...)
		want := "xdpallow: error: " + test.what + "\n"
		if test.hint != "" {
			want += "xdpallow: hint: " + test.hint + "\n"
		}
		want = strings.ReplaceAll(want, "FILE", path)
		if code != 2 || out != "" || stderr != want || len(w.ran) > 0 {
			t.Errorf("%q %s: exit %d, %q, ran %v; want %q", test.text, test.flags, code, stderr, w.ran, want)
		}
	}
}

// What assets prints is read as it stands, and its comments name real keys.
func TestExampleConfig(t *testing.T) {
	_, text, _ := newWorld(t).run("assets", "config")
	f, err := config.Parse("/etc/xdpallow/config.yaml", []byte(text))
	if err != nil || len(f.Services) != 1 || len(f.Claims) != 2 || len(f.Interfaces) != 1 {
		t.Errorf("the example says %+v, %v", f, err)
	}
	uncommented := strings.NewReplacer("\n# attach", "\nattach", "\n# backstop", "\nbackstop", "\n# metrics", "\nmetrics", "\n# log_", "\nlog_",
		"\n# state", "\nstate", "\n# socket", "\nsocket", "\n# bpffs", "\nbpffs", "\n# allow_", "\nallow_", "\n  # ", "\n  ").Replace(text)
	f, err = config.Parse("/etc/xdpallow/config.yaml", []byte(uncommented))
	want := config.Settings{
		Interfaces: []string{"eth0"}, Attach: "auto", Backstop: "on", State: defaultState, Socket: defaultSocket, Bpffs: defaultBpffs,
		Metrics: "127.0.0.1:9463", LogFormat: "text",
	}
	if diff := cmp.Diff(want, f.Settings); diff != "" || err != nil || len(f.Services) != 2 || len(f.Files) != 1 || f.Files[0] != "/etc/xdpallow/allow.d" {
		t.Errorf("with every key (-want +got):\n%s%+v, %v", diff, f, err)
	}
}
