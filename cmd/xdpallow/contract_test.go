package main

// Promise guarded here: names, flags and exit codes, and that
// what is not known is refused and never ignored.

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/pins"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func TestExitCodes(t *testing.T) {
	input, refused := &policy.InputError{What: "x"}, &policy.Refused{What: "x"}
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{refused, 1},
		{fmt.Errorf("change: %w", refused), 1},
		{errDropped, 1},
		{input, 2},
		{errors.Join(input, input), 2},
		{fmt.Errorf("read: %w", input), 2},
		{fmt.Errorf("%w on s", control.ErrNoDaemon), 3},
		{loader.ErrNoPins, 3},
		{control.ErrForbidden, 4},
		{fmt.Errorf("%w: x", fleet.ErrUnreachable), 3},
		{fmt.Errorf("%w for web1", fleet.ErrForbidden), 4},
		{errMissing, 1},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, 4},
		{checkError{refused}, 2},
		{checkError{loader.ErrNoPins}, 2},
		{checkError{control.ErrForbidden}, 2},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("exit code of %v: %d, want %d", test.err, got, test.want)
		}
	}
}

// Each line is wrong input: exit 2, something to read on stderr, nothing on
// stdout, and nobody is asked.
func TestWrongInput(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	for _, line := range []string{
		"nonsense", "help nonsense", "--nonsense", "rm 192.0.2.0/24", "demo nonsense",
		// of later issues
		"list --unused 90", "list --expiring=", "check -f /nowhere", "check -f - 192.0.2.9", "stats -o text", "list -o prometheus",
		// of this one
		"mode audit", "mode audit --for 0s", "mode audit --for=", "mode off", "mode enforce audit", "mode enforce --for 15m", "mode --for 15m", "mode --service api",
		"mode audit --for 15m --service API", "confirm 7", "rollback 7", "reload --confirm 60", "reload --confirm=", "reload --confirm 60s --dry-run",
		"run", "run --interface eth0", "run --port 443", "run --interface eth0 --port 0", "run --interface eth0 --port 443/tcp",
		"run --interface e/0 --port 443", "run --interface eth0 --port 443 --mode off", "run --interface eth0 --port 443 --attach offload",
		"run --interface eth0 --port 443 --allow 10.0.0.5/8", "run --interface eth0 --port 443 --metrics 9100", "run --interface eth0 --port 443 extra",
		"run --interface eth0 --port 443 --log-format xml", "run --interface eth0 --port 443 --backstop=yes", "run --interface eth0 --port 443 --backstop=",
		"run --interface eth0 --port 443 --drop all", "run --interface eth0 --port 443 --drop syn,stray", "run --config /nowhere/config.yaml", "run --config=",
		"add 192.0.2.0/24 --for 1d --until 2099-01-01", "add 192.0.2.0/24 --for 0s", "add 192.0.2.0/24 --for=", "add 192.0.2.0/24 --for 1y",
		"add 192.0.2.0/24 --until tomorrow", "add 192.0.2.0/24 --until 2020-01-01", "add 192.0.2.0/24 --until=", "add 192.0.2.0/24 --service API", "add 192.0.2.0/24 --service api,",
		"add", "add 10.0.0.5/8", "add 192.0.2.0/24 --owner Acme", "add 192.0.2.0/24 -", "add host.example", "add 192.0.2.0/24 -o text", "add --",
		"add 192.0.2.0/24 -- --owner", "add fe80::1%eth0", "add 127.0.0.1",
		"remove", "remove 192.0.2.0/24 --owner acme", "remove 192.0.2.0/24 --expired", "run --interface eth0 --port 443 --keep-ended 7", "run --interface eth0 --port 443 --keep-ended=", "remove --owner",
		"list acme globex", "list ACME", "list 192.0.2.5/24", "list acme --owner acme", "history acme", "history -n x", "history -n -1", "events now", "events -n -1", "stats -w 1", "stats -w 1ms", "stats -w 1s -o prometheus", "top", "top now", "top -w x", "list -o xml", "list --service api", "list -o nginx acme", "list -o haproxy --owner acme", "list -o nginx --service API", "status now", "check", "check 192.0.2.0/24", "check 192.0.2.9 192.0.2.10", "check fe80::1%eth0", "check 192.0.2.9 --port x",
		"export a b", "import", "import a b", "import /nowhere/a.export", "import - --confirm 60", "replace", "replace a.list b.list", "replace /nowhere/a.list", "replace - --seen 7", "remove 192.0.2.0/24 --seen=", "reload --seen 0d",
		"suspend", "suspend acme globex", "suspend ACME", "suspend 192.0.2.5/24", "suspend acme --for 1d", "suspend fe80::1%eth0", "resume", "resume acme --cut", "cut", "cut 192.0.2.5/24",
		"limit", "limit acme", "limit acme 5", "limit acme 0/s", "limit acme -1/s", "limit acme 5/y", "limit acme inf/s", "limit ACME 5/s", "limit acme 5/s --burst 0",
		"limit acme 5/s --burst 4294967296", "limit acme none --burst 1", "limit 192.0.2.0/24 5/s", "owners acme",
		"probe", "probe acme globex", "probe ACME", "probe acme --ports 0", "probe acme --ports udp/443", "probe acme --ports x", "probe acme --knocks 3", "probe acme --knocks 21", "probe acme --http --https",
		"detach", "doctor eth0", "doctor --interface e/0", "doctor --port 0", "doctor --config=", "doctor --try=x", "doctor -o text",
		"detach eth0 --yes", "completion", "completion tcsh", "completion bash zsh", "assets", "assets nothing", "assets unit config", "assets -- --help", "version now",
	} {
		code, out, stderr := w.run(strings.Fields(line)...)
		if code != 2 || out != "" || !strings.HasPrefix(stderr, "xdpallow: error: ") {
			t.Errorf("%s: exit %d, want 2; stdout %q, stderr %q", line, code, out, stderr)
		}
	}
	if len(w.asked) > 0 || len(w.ran) > 0 || len(w.looked) > 0 {
		t.Errorf("wrong input reached the engine: %v %v", w.asked, w.ran)
	}
}

func TestFlagsFollowArguments(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	want := api.AddRequest{Prefixes: []string{"192.0.2.0/24", "198.51.100.7/32"}, Owner: "acme", Note: "- x", AllowAny: true}
	for _, words := range [][]string{
		{"add", "--owner", "acme", "--note", "- x", "--allow-any", "192.0.2.0/24", "198.51.100.7"},
		{"add", "192.0.2.0/24", "--owner=acme", "198.51.100.7", "--allow-any", "--note", "- x"},
		{"add", "192.0.2.0/24", "198.51.100.7", "-allow-any", "--note=- x", "--owner", "acme"},
		{"add", "--note=- x", "--allow-any", "--owner", "acme", "--", "192.0.2.0/24", "198.51.100.7"},
	} {
		// The socket goes first, because nothing after "--" is a flag.
		words = append([]string{words[0], "--socket", w.socket}, words[1:]...)
		if code, _, stderr := w.run(words...); code != 0 {
			t.Errorf("%q: exit %d, %s", words, code, stderr)
			continue
		}
		if diff := cmp.Diff(any(want), w.asked[len(w.asked)-1]); diff != "" {
			t.Errorf("%q (-want +got):\n%s", words, diff)
		}
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	w.stdin = "192.0.2.0/24 owner=acme # x\n"
	list := filepath.Join(t.TempDir(), "a.list")
	if err := os.WriteFile(list, []byte("192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]any{
		"remove 192.0.2.0/24 --allow-empty":            api.RemoveRequest{Prefixes: []string{"192.0.2.0/24"}, AllowEmpty: true},
		"remove --expired":                             api.RemoveRequest{Expired: true},
		"remove --expired --owner acme":                api.RemoveRequest{Expired: true, Owner: "acme"},
		"remove --owner acme":                          api.RemoveRequest{Owner: "acme"},
		"add -":                                        api.AddRequest{Prefixes: []string{"192.0.2.0/24 owner=acme note=\"x\""}, Whole: true},
		"add 192.0.2.0/24 --until never":               api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, Until: "never"},
		"add 192.0.2.0/24 --service all":               api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, Services: []string{"all"}},
		"add 192.0.2.0/24 --note=":                     api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, NoNote: true},
		"add 192.0.2.0/24 --dry-run":                   api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, DryRun: true},
		"remove -":                                     api.RemoveRequest{Prefixes: []string{"192.0.2.0/24"}},
		"reload --dry-run --force-shrink":              api.ReloadRequest{Force: policy.Force{ForceShrink: true}, DryRun: true},
		"reload --allow-empty --allow-any":             api.ReloadRequest{Force: policy.Force{AllowEmpty: true, AllowAny: true}},
		"reload --allow-open":                          api.ReloadRequest{Force: policy.Force{AllowOpen: true}},
		"reload --cut-sessions":                        api.ReloadRequest{Force: policy.Force{CutSessions: true}},
		"rollback --cut-sessions":                      api.RollbackRequest{Force: policy.Force{CutSessions: true}},
		"rollback --allow-open --dry-run":              api.RollbackRequest{Force: policy.Force{AllowOpen: true}, DryRun: true},
		"history":                                      "history 20",
		"events -n 3":                                  "events 3 false",
		"top -o json":                                  "live 50",
		"history -n 0":                                 "history 0",
		"replace -":                                    api.ReplaceRequest{Name: "stdin", Text: w.stdin},
		"replace - --dry-run --seen 30d --allow-any":   api.ReplaceRequest{Name: "stdin", Text: w.stdin, DryRun: true, Seen: "30d", AllowAny: true},
		"replace --force-shrink --allow-empty " + list: api.ReplaceRequest{Name: list, Text: "192.0.2.0/24\n", ForceShrink: true, AllowEmpty: true},
		"remove 192.0.2.0/24 --dry-run --seen 1w":      api.RemoveRequest{Prefixes: []string{"192.0.2.0/24"}, DryRun: true, Seen: "1w"},
		"reload --seen 1w":                             api.ReloadRequest{Seen: "1w"},
		"list --unused 90d":                            "list  unused 2160h0m0s",
		"list --expiring 2w --owner acme":              "list acme expiring 336h0m0s",
		"list --owner acme":                            "list acme",
		"check 2001:db8::1 --port udp/53":              "check 2001:db8::1 udp/53",
		"check 192.0.2.9":                              "check 192.0.2.9",
		"reload --confirm 60s":                         api.ReloadRequest{Confirm: "60s"},
		"export":                                       "export false",
		"export - --all":                               "export true",
		"import -":                                     api.ImportRequest{ReplaceRequest: api.ReplaceRequest{Name: "stdin", Text: w.stdin}},
		"import - --allow-open --dry-run --allow-any --force-shrink --allow-empty": api.ImportRequest{
			ReplaceRequest: api.ReplaceRequest{Name: "stdin", Text: w.stdin, DryRun: true, AllowAny: true, ForceShrink: true, AllowEmpty: true}, AllowOpen: true,
		},
		"import - --confirm 5m --seen 1w": api.ImportRequest{ReplaceRequest: api.ReplaceRequest{Name: "stdin", Text: w.stdin, Confirm: "5m", Seen: "1w"}},
		"replace - --confirm 5m":          api.ReplaceRequest{Name: "stdin", Text: w.stdin, Confirm: "5m"},
		"confirm":                         "confirm",
		"rollback":                        api.RollbackRequest{},
		"rollback --dry-run --allow-empty --seen 1w":        api.RollbackRequest{Force: policy.Force{AllowEmpty: true}, DryRun: true, Seen: "1w"},
		"rollback --allow-any --force-shrink":               api.RollbackRequest{Force: policy.Force{AllowAny: true, ForceShrink: true}},
		"mode":                                              "status",
		"mode enforce":                                      api.ModeRequest{Mode: policy.Enforce},
		"mode audit --for 15m --service web,api":            api.ModeRequest{Mode: policy.Audit, For: "15m", Services: []string{"api", "web"}},
		"replace --force-shrink --allow-empty " + list:      api.ReplaceRequest{Name: list, Text: "192.0.2.0/24\n", ForceShrink: true, AllowEmpty: true},
		"remove 192.0.2.0/24 --cut":                         api.RemoveRequest{Prefixes: []string{"192.0.2.0/24"}, Cut: true},
		"suspend acme --cut --reason x":                     api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}, Cut: true},
		"suspend acme --nested":                             api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}, Nested: true},
		"suspend 0.0.0.0/0 --allow-any":                     api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, AllowAny: true},
		"cut ::/0 --allow-any":                              api.CutRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("::/0")}, AllowAny: true},
		"suspend 192.0.2.7":                                 api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("192.0.2.7/32")}},
		"resume 2001:db8::/32":                              api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("2001:db8::/32")}},
		"resume acme":                                       api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}},
		"limit acme 30/m --burst 5":                         api.LimitRequest{Owner: "acme", Limit: api.Limit{PerSecond: 0.5, Burst: 5}},
		"limit acme 200/s":                                  api.LimitRequest{Owner: "acme", Limit: api.Limit{PerSecond: 200}},
		"limit acme none":                                   api.LimitRequest{Owner: "acme"},
		"cut 192.0.2.7":                                     api.CutRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("192.0.2.7/32")}},
		"owners":                                            "owners",
		"list acme":                                         "list acme",
		"list --owner -":                                    "list -",
		"list 192.0.2.0/24 --unused 90d":                    "list  unused 2160h0m0s prefix 192.0.2.0/24",
		"list 192.0.2.7 --owner acme":                       "list acme prefix 192.0.2.7/32",
		"add 192.0.2.0/24 --service web --service mail,api": api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, Services: []string{"api", "mail", "web"}},
		"add 192.0.2.0/24 --for 1w2d":                       api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, For: "1w2d"},
		"add - --until 2099-01-01":                          api.AddRequest{Prefixes: []string{"192.0.2.0/24 owner=acme note=\"x\""}, Until: "2099-01-01", Whole: true},
		"detach --yes --interface eth1,eth0 --interface lo": api.DetachRequest{Interfaces: []string{"eth0", "eth1", "lo"}},
	} {
		if code, _, stderr := w.sh(line); code != 0 {
			t.Errorf("%s: exit %d, %s", line, code, stderr)
		}
		if diff := cmp.Diff(want, w.asked[len(w.asked)-1], cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// An error of the daemon exits and hints as if it had happened here.
func TestErrorsCrossTheSocket(t *testing.T) {
	for _, test := range []struct {
		err    error
		code   int
		stderr string
	}{
		{&policy.Refused{What: "198.51.100.0/28 is still allowed by a.list:3", Hint: "edit a.list"}, 1, "xdpallow: error: 198.51.100.0/28 is still allowed by a.list:3\nxdpallow: hint: edit a.list\n"},
		{
			errors.Join(&policy.InputError{Where: "a:1", What: "x", Hint: "h"}, &policy.InputError{Where: "a:2", What: "y"}), 2,
			"xdpallow: error: a:1: x\nxdpallow: hint: edit a:1: write h\nxdpallow: error: a:2: y\n",
		},
		{errors.New("publish: no memory"), 1, "xdpallow: error: publish: no memory\n"},
		{fmt.Errorf("save: %w", &policy.InputError{Where: "a:1", What: "x"}), 2, "xdpallow: error: save: a:1: x\n"},
	} {
		engine := sampleEngine()
		engine.err = test.err
		code, out, stderr := newWorld(t).serve(t, engine).sh("remove 198.51.100.0/28")
		if code != test.code || stderr != test.stderr || out != "" {
			t.Errorf("%v: exit %d, want %d; stdout %q, stderr %q, want %q", test.err, code, test.code, out, stderr, test.stderr)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	commands := map[string]struct{ noPins, pins int }{
		"add 192.0.2.0/24":    {3, 3},
		"remove 192.0.2.0/24": {3, 3},
		"replace -":           {3, 3},
		"import -":            {3, 3},
		"export":              {3, 0},
		"reload":              {3, 3},
		"confirm":             {3, 3},
		"rollback":            {3, 3},
		"mode":                {3, 3},
		"mode enforce":        {3, 3},
		"status":              {3, 0},
		"list":                {3, 0},
		"stats":               {3, 0},
		"history":             {3, 0},
		"owners":              {3, 0},
		"suspend acme":        {3, 3},
		"resume acme":         {3, 3},
		"limit acme 1/s":      {3, 3},
		"cut acme":            {3, 3},
		"detach --yes":        {3, 0},
		"check 192.0.2.9":     {2, 0}, // 1 and 3 are not for check to use
	}
	for line, want := range commands {
		w := newWorld(t)
		if code, out, stderr := w.sh(line); code != want.noPins || out != "" || !strings.Contains(stderr, "no daemon answers on "+w.socket) {
			t.Errorf("%s without pins: exit %d, want %d; %q %q", line, code, want.noPins, out, stderr)
		}
		w.pins = sampleEngine()
		w.pins.detach.Detached = []string{"eth0"}
		w.pins.checks = []api.CheckResult{checkResult("192.0.2.9", "pass", "listed", "", "", 443)}
		w.pins.status.Daemon = nil
		code, out, stderr := w.sh(line)
		said := stderr == "xdpallow: no daemon answers on "+w.socket+": read from pins and state\n"
		if code != want.pins || (code == 0) != (out != "") || (code == 0) != said {
			t.Errorf("%s with pins: exit %d, want %d; %q %q", line, code, want.pins, out, stderr)
		}
		if line == "status" && !strings.Contains(out, "daemon:       not running\n") {
			t.Errorf("status does not say that no daemon runs:\n%s", out)
		}
	}
	// A socket that a dead daemon left behind is nobody as well.
	w := newWorld(t)
	listener, err := control.Listen(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	listener.Close()
	if _, err := os.Stat(w.socket); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.sh("reload"); code != 3 {
		t.Errorf("dead socket: exit %d, want 3, %s", code, stderr)
	}
}

func TestDetachAsks(t *testing.T) {
	for _, test := range []struct {
		terminal bool
		stdin    string
		code     int
		asked    int
	}{
		{false, "y\n", 2, 0}, // a pipe that says y is not a person
		{true, "y\n", 0, 1},
		{true, "YES\n", 0, 1},
		{true, "\n", 1, 0},
		{true, "", 1, 0},
		{true, "nay\n", 1, 0},
	} {
		w := newWorld(t).serve(t, sampleEngine())
		w.terminal, w.stdin = test.terminal, test.stdin
		code, _, stderr := w.sh("detach --interface eth0")
		if code != test.code || len(w.asked) != test.asked {
			t.Errorf("%+v: exit %d, asked %v, %s", test, code, w.asked, stderr)
		}
		if !test.terminal && !strings.Contains(stderr, "xdpallow: hint: xdpallow detach --interface eth0 --socket "+w.socket+" --yes\n") {
			t.Errorf("no hint: %s", stderr)
		}
	}
}

func TestRunOptions(t *testing.T) {
	w := newWorld(t)
	code, _, stderr := w.run(strings.Fields("run --interface eth1,eth0 --interface eth1 --port 8443,udp/443 --port tcp/443 --port 443 " +
		"--allow 192.0.2.0/24,2001:db8::/32 --allow 198.51.100.7 --allow-file a.list --mode audit --drop stray --attach native --backstop=off " +
		"--state /s --socket /c --bpffs /b/ --metrics :9100 --allow-any --dry-run --log-format json")...)
	if code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	here, err := filepath.Abs("a.list")
	if err != nil {
		t.Fatal(err)
	}
	want := []options{{
		Interfaces: []string{"eth0", "eth1"},
		Ports:      []policy.Port{{Protocol: policy.TCP, Number: 443}, {Protocol: policy.TCP, Number: 8443}, {Protocol: policy.UDP, Number: 443}},
		Allow:      []string{"192.0.2.0/24", "2001:db8::/32", "198.51.100.7"},
		AllowFiles: []string{here},
		Mode:       policy.Audit, Scope: policy.ScopeStray, Attach: "native", Backstop: "off", BackstopTyped: true,
		State: "/s", Bpffs: "/b", Socket: "/c", Metrics: ":9100",
		Force: policy.Force{AllowAny: true}, DryRun: true, LogFormat: "json",
	}}
	if diff := cmp.Diff(want, w.ran); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	w = newWorld(t)
	w.run("run", "--interface", "eth0", "--port", "8081,udp/9000-9001,8080-8082")
	ranges := []policy.Port{{Protocol: policy.TCP, Number: 8080}, {Protocol: policy.TCP, Number: 8081}, {Protocol: policy.TCP, Number: 8082}, {Protocol: policy.UDP, Number: 9000}, {Protocol: policy.UDP, Number: 9001}}
	if len(w.ran) != 1 || !slices.Equal(w.ran[0].Ports, ranges) {
		t.Errorf("ranges of ports make %v, want %v", w.ran, ranges)
	}
	w = newWorld(t)
	w.run("run", "--interface", "eth0", "--port", "443")
	want = []options{{
		Interfaces: []string{"eth0"}, Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Allow: w.ran[0].Allow,
		Mode: policy.Enforce, Scope: policy.ScopeSYN, Attach: "auto", Backstop: "on",
		State: defaultState, Bpffs: defaultBpffs, Socket: defaultSocket, LogFormat: "text",
	}}
	if diff := cmp.Diff(want, w.ran); diff != "" || len(w.ran[0].Allow) > 0 {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// A mistake that can be foreseen gets a command to paste.
func TestHints(t *testing.T) {
	w := newWorld(t)
	w.uid = 1000
	for line, want := range map[string]string{
		"add 10.0.0.5/8 --owner acme":                        "xdpallow add 10.0.0.0/8 --owner acme",
		"add 10.0.0.0/255.0.0.0 --owner acme":                "xdpallow add 10.0.0.0/8 --owner acme",
		"add 10.0.*.* --owner acme":                          "xdpallow add 10.0.0.0/16 --owner acme",
		"add 192.0.2.1-192.0.2.9":                            "xdpallow add 192.0.2.1/32 192.0.2.2/31 192.0.2.4/30 192.0.2.8/31",
		"remove 192.0.2.8-11 --cut":                          "xdpallow remove 192.0.2.8/30 --cut",
		"suspend 10.0.*.*":                                   "xdpallow suspend 10.0.0.0/16",
		"suspend 10.0.0.0/255.0.0.0 --reason stolen":         "xdpallow suspend 10.0.0.0/8 --reason stolen",
		"run --interface eth0 --port 443 --allow 10.0.0.5-9": "xdpallow run --interface eth0 --port 443 --allow 10.0.0.5/32,10.0.0.6/31,10.0.0.8/31",
		"check 192.0.2.0/24":                                 "xdpallow check 192.0.2.0",
		"mode audit":                                         "xdpallow mode audit --for 15m",
		"mode audit --for 15":                                "xdpallow mode audit --for 15m",
		"reload --confirm 60":                                "xdpallow reload --confirm 60s",
		"rm 192.0.2.0/24":                                    "xdpallow remove 192.0.2.0/24",
		"list --nope":                                        "xdpallow list --help",
		"run --interface eth0 --port 443 --drop all":         "xdpallow run --drop syn",
		"run --interface eth0 --port 443 --backstop no":      "xdpallow run --backstop on",
		"add 192.0.2.0/24 --for 90 --owner acme":             "xdpallow add 192.0.2.0/24 --for 90d --owner acme",
		"add 192.0.2.0/24 --for=0s":                          "xdpallow add 192.0.2.0/24 --for=90d",
		"add 192.0.2.0/24 --for 1d --until 2099-01-01":       "xdpallow add --help",
		"add 192.0.2.0/24 --until soon":                      "xdpallow add 192.0.2.0/24 --until " + time.Now().UTC().AddDate(0, 0, 90).Format(time.DateOnly),
		"add 192.0.2.0/24 --owner ACME":                      "xdpallow add 192.0.2.0/24 --owner acme",
		"add 192.0.2.0/24 --service API,web":                 "xdpallow add 192.0.2.0/24 --service api,web",
		"remove --owner=ACME":                                "xdpallow remove --owner=acme",
		"list --owner ACME":                                  "xdpallow list --owner acme",
		"list ACME":                                          "xdpallow list acme",
		"list 192.0.2.5/24":                                  "xdpallow list 192.0.2.0/24",
		"run":                                                "xdpallow run --interface eth0 --port 443 --allow 192.0.2.0/24",
		"reload --socket " + filepath.Join(t.TempDir(), "s"): "systemctl start xdpallow",
	} {
		_, _, stderr := w.run(strings.Fields(line)...)
		if !strings.HasSuffix(stderr, "\nxdpallow: hint: "+want+"\n") {
			t.Errorf("%s: %q, want the hint %q", line, stderr, want)
		}
	}
	// Where no command would mend it, there is no hint, least of all the same command.
	for _, line := range []string{
		"add 192.0.2.0/24 --owner é", "add 192.0.2.9-192.0.2.1", "add 127.0.0.1", "add 192.0.2.0/24 --service API --service web",
		"run --interface eth0 --port 443 --allow 10.0.0.5/8,192.0.2.0/24",
	} {
		if code, _, stderr := w.run(strings.Fields(line)...); code != 2 || strings.Contains(stderr, "hint:") {
			t.Errorf("%s: exit %d, %q, want no hint", line, code, stderr)
		}
	}
	engine := sampleEngine()
	engine.err = &policy.Refused{What: "too wide", Hint: "--allow-any"}
	wide := newWorld(t).serve(t, engine)
	if _, _, stderr := wide.sh("add 128.0.0.0/2"); !strings.HasSuffix(stderr, "\nxdpallow: hint: xdpallow add --allow-any 128.0.0.0/2 --socket "+wide.socket+"\n") {
		t.Errorf("a flag as hint: %q", stderr)
	}
	engine = sampleEngine()
	engine.err = &policy.InputError{What: "192.0.2.0/24 is for service web, which does not exist", Hint: "service=api,mail"}
	unknown := newWorld(t).serve(t, engine)
	if code, _, stderr := unknown.sh("add 192.0.2.0/24 --service web --owner acme"); code != 2 ||
		!strings.HasSuffix(stderr, "\nxdpallow: hint: xdpallow add 192.0.2.0/24 --service api,mail --owner acme --socket "+unknown.socket+"\n") {
		t.Errorf("a service that does not exist: exit %d, %q", code, stderr)
	}
	unknown.stdin = "192.0.2.0/24 service=web\n"
	if code, _, stderr := unknown.sh("add -"); code != 2 || strings.Contains(stderr, "hint:") {
		t.Errorf("a service that does not exist, in stdin: exit %d, %q", code, stderr)
	}
	engine = sampleEngine()
	engine.err = control.ErrForbidden
	w.serve(t, engine)
	if code, _, stderr := w.run("add", "192.0.2.0/24", "--note", "it's new", "--socket", w.socket); code != 4 ||
		!strings.HasSuffix(stderr, "\nxdpallow: hint: sudo xdpallow add 192.0.2.0/24 --note 'it'\\''s new' --socket "+w.socket+"\n") {
		t.Errorf("forbidden: exit %d, %q", code, stderr)
	}
}

// Promise: what a refused run is told to type is this run again, or comes at this
// gate and not at another, wherever flags or file have put it.
func TestHintsOfRun(t *testing.T) {
	const flags = "run --interface eth0 --port 443 "
	path, dir := configFile(t, "interfaces: [eth0]\nservices: {api: {ports: [443]}}\nsocket: 'my socket'\n")
	for _, test := range []struct {
		line string
		err  error
		want string
	}{
		{flags, &policy.Refused{What: "x", Hint: "--allow 192.0.2.9"}, "xdpallow run --allow 192.0.2.9 --interface eth0 --port 443"},
		{flags, &loader.ModeError{Interface: "eth0"}, "xdpallow detach --yes --interface eth0; xdpallow run --interface eth0 --port 443"},
		{
			flags + "--bpffs /b --state /s", fmt.Errorf("attach: %w", &loader.ModeError{Interface: "eth0"}),
			"xdpallow detach --yes --interface eth0 --state /s --bpffs /b; xdpallow run --interface eth0 --port 443 --bpffs /b --state /s",
		},
		{
			"run --config " + path, errors.Join(&loader.ModeError{Interface: "eth0"}),
			"xdpallow detach --yes --interface eth0 --socket '" + dir + "/my socket' --state " + dir + "/state; xdpallow run --config " + path,
		},
		{flags, &loader.ForeignError{Interface: "eth0"}, "bpftool net show dev eth0"},
		{flags, &pins.PrivateMountError{Path: "/sys/fs/bpf/xdpallow"}, "mount -t bpf bpf /sys/fs/bpf"},
	} {
		w := newWorld(t)
		w.refuses = test.err
		if code, _, stderr := w.run(strings.Fields(test.line)...); code != 1 || !strings.HasSuffix(stderr, "\nxdpallow: hint: "+test.want+"\n") {
			t.Errorf("%s: exit %d, %q, want the hint %q", test.line, code, stderr, test.want)
		}
	}
}

// named is a command with its whole name, "fleet add".
type named struct {
	*cli.Command
	name string
}

// everyCommand returns the commands of app, and behind each group those in it.
func everyCommand(app *cli.App) (all []named) {
	for _, command := range app.Commands {
		all = append(all, named{command, command.Name})
		for _, sub := range command.Subcommands {
			all = append(all, named{sub, command.Name + " " + sub.Name})
		}
	}
	return all
}

// Every command explains itself, in one voice.
func TestHelp(t *testing.T) {
	w := newWorld(t)
	app := newApp(env{})
	var names []string
	for _, command := range everyCommand(app) {
		names = append(names, command.name)
		code, out, stderr := w.run(append(strings.Fields(command.name), "--help")...)
		if code != 0 || stderr != "" || !strings.Contains(out, "xdpallow "+command.name+" - "+command.Usage) {
			t.Errorf("%s --help: exit %d\n%s%s", command.name, code, out, stderr)
		}
		first := []rune(command.Usage)[0]
		verb, _, _ := strings.Cut(command.Usage, " ")
		if !unicode.IsUpper(first) || strings.HasSuffix(command.Usage, ".") || strings.HasSuffix(verb, "s") {
			t.Errorf("%s: usage %q is not a capitalised imperative without full stop", command.Name, command.Usage)
		}
		for _, flag := range []string{"--output", "--quiet", "--socket"} {
			if len(command.Subcommands) > 0 {
				break // it is a group
			}
			if !strings.Contains(out, flag) {
				t.Errorf("%s does not take %s", command.Name, flag)
			}
		}
		for _, line := range strings.Split(out, "\n") {
			if strings.HasSuffix(line, ".") {
				t.Errorf("%s --help: full stop in %q", command.Name, line)
			}
		}
	}
	if got := strings.Join(names, " "); got != "run add remove replace reload confirm rollback mode suspend resume limit cut owners probe export import fleet fleet init fleet add fleet remove fleet replace fleet list fleet suspend fleet resume fleet limit fleet status fleet history fleet diff fleet confirm fleet rollback fleet forget list check status doctor stats history events top enrol detach assets completion demo version" {
		t.Errorf("commands: %s", got)
	}
	if code, out, _ := w.run(); code != 0 || !strings.Contains(out, "COMMANDS:") {
		t.Errorf("without a command: exit %d\n%s", code, out)
	}
}
