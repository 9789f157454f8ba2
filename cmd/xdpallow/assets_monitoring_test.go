package main

// Promises guarded here: each alert fires and ends as its story says, tells what to
// type next, and like the dashboard asks for nothing that a scrape does not show.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
	"github.com/xdpallow/xdpallow/loader/api"
)

// alert is a rule of rules.yml.
type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	_, text, _ := newWorld(t).run("assets", "rules")
	if err := yaml.Unmarshal([]byte(text), &file); err != nil || len(file.Groups) == 0 {
		t.Fatalf("%d groups: %v", len(file.Groups), err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Dir = "assets"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// stories are the tests of promtool.
var stories = []string{"rules_test.yml", "rules_customer_test.yml"}

func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "rules.yml")
	promtool(t, append([]string{"test", "rules"}, stories...)...)

	type moment struct {
		Alertname string
		Expected  []any `yaml:"exp_alerts"`
	}
	ends := map[string]bool{} // a story in which it fires, and after that does not
	for _, name := range stories {
		text, err := os.ReadFile(filepath.Join("assets", name))
		var file struct {
			Tests []struct {
				Moments []moment `yaml:"alert_rule_test"`
			}
		}
		if err == nil {
			err = yaml.Unmarshal(text, &file)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, story := range file.Tests {
			fired := map[string]bool{}
			for _, m := range story.Moments { // in the order of time
				ends[m.Alertname] = ends[m.Alertname] || fired[m.Alertname] && len(m.Expected) == 0
				fired[m.Alertname] = len(m.Expected) > 0
			}
		}
	}
	for _, a := range alerts(t) {
		if !ends[a.Alert] {
			t.Errorf("no story in which %s fires and ends", a.Alert)
		}
	}
}

// advice is a command of ours in a text.
var advice = regexp.MustCompile(`xdpallow: |xdpallow ([a-z]+)`)

func TestAlertsTellWhatToType(t *testing.T) {
	t.Parallel()
	var commands []string
	for _, c := range newApp(env{}).Commands {
		commands = append(commands, c.Name)
	}
	for _, a := range alerts(t) {
		summary, description := a.Annotations["summary"], a.Annotations["description"]
		if summary == "" || strings.HasSuffix(summary, ".") || !strings.Contains(description, "type: ") || a.Labels["severity"] == "" {
			t.Errorf("%s: severity %q, summary %q, description %q", a.Alert, a.Labels["severity"], summary, description)
		}
		_, typed, _ := strings.Cut(description, "type: ")
		for _, found := range advice.FindAllStringSubmatch(typed, -1) {
			if command := found[1]; !slices.Contains(commands, command) && command != "top" {
				t.Errorf("%s: there is no command %q", a.Alert, found[0])
			}
		}
	}
}

// panel is a panel of the dashboard.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	Targets                  []struct {
		RefID, Expr string
		Datasource  struct{ UID string }
	}
}

func panels(t *testing.T) []panel {
	t.Helper()
	_, text, _ := newWorld(t).run("assets", "dashboard")
	var board struct {
		UID           string
		SchemaVersion int
		Inputs        []struct{ Name, PluginID string } `json:"__inputs"`
		Panels        []panel
	}
	if err := json.Unmarshal([]byte(text), &board); err != nil {
		t.Fatal(err)
	}
	if board.UID != "xdpallow" || board.SchemaVersion < 39 || len(board.Inputs) != 1 || board.Inputs[0].Name != "DS_PROMETHEUS" || len(board.Panels) == 0 {
		t.Errorf("dashboard %q, schema %d, inputs %v, %d panels", board.UID, board.SchemaVersion, board.Inputs, len(board.Panels))
	}
	return board.Panels
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	const source = "${DS_PROMETHEUS}"
	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	for _, p := range panels(t) {
		if ids[p.ID] || titles[p.Title] || p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != source {
			t.Errorf("panel %d %q: taken, or without text, source or targets", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		at := p.GridPos
		if at.W < 1 || at.H < 1 || at.X < 0 || at.X+at.W > 24 {
			t.Errorf("panel %q is off the grid: %+v", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("panels %q and %q overlap", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for i, target := range p.Targets {
			if target.RefID != string(rune('A'+i)) || target.Datasource.UID != source {
				t.Errorf("panel %q: target %+v", p.Title, target)
			}
			rules += fmt.Sprintf("      - {record: panel%d, expr: %q, labels: {target: %q}}\n", p.ID, grafana.Replace(target.Expr), target.RefID)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// grafana puts values where Grafana has variables.
var grafana = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", ".*")

var (
	selector = regexp.MustCompile(`\b(xdpallow_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	grouped  = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// target are labels that Prometheus adds.
var target = []string{"job", "instance"}

func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	shot, err := snapshotOf(context.Background(), sampleEngine())
	if err != nil {
		t.Fatal(err)
	}
	shot.Stats.Owners = []api.Owner{{Owner: "acme"}}
	heard := time.Unix(1_700_000_000, 0)
	shot.Status.Origins = append(shot.Status.Origins, api.OriginStatus{Name: "etcd:prod", Mark: "58", LastSuccess: &heard})
	shot.Stats.OwnerChecks = []api.OwnerCheck{{Service: "api", Reason: "wrong_owner"}}
	var scrape strings.Builder
	if err := metrics.Write(&scrape, shot); err != nil {
		t.Fatal(err)
	}
	has := func(name, more string) bool {
		return regexp.MustCompile(`(?m)^` + name + `\b.*` + more).MatchString(scrape.String())
	}
	check := func(where, expr string) (names []string) {
		for _, found := range selector.FindAllStringSubmatch(expr, -1) {
			names = append(names, found[1])
			if !has(found[1], "") {
				t.Errorf("%s: no scrape shows %s", where, found[1])
			}
			for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
				value := regexp.QuoteMeta(m[3])
				if strings.HasSuffix(m[2], "~") {
					value = "" // a pattern: the label is enough
				}
				if !slices.Contains(target, m[1]) && !has(found[1], `[{,]`+m[1]+`="`+value) {
					t.Errorf("%s: %s has no %s", where, found[1], m[0])
				}
			}
		}
		for _, by := range grouped.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(by[1], ", ") {
				if !slices.Contains(target, label) && !slices.ContainsFunc(names, func(name string) bool { return has(name, `[{,]`+label+`="`) }) {
					t.Errorf("%s: none of %v has the label %s", where, names, label)
				}
			}
		}
		return names
	}
	for _, a := range alerts(t) {
		if len(check(a.Alert, a.Expr)) == 0 {
			t.Errorf("%s is about nothing of ours", a.Alert)
		}
	}
	var shown []string
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			shown = append(shown, check(p.Title, target.Expr)...)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(scrape.String(), -1) {
		if name := line[1]; name != "xdpallow_build_info" && !slices.Contains(shown, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}
