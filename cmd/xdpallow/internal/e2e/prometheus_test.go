package e2e

// This file is a real Prometheus, Debian's, on the protected host: it scrapes the
// daemon and watches our rules.

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Where the daemon and Prometheus listen: the namespace is ours alone, so both ports
// are free.
const (
	metricsAt    = "127.0.0.1:9463"
	prometheusAt = "127.0.0.1:9090"
)

// prometheus is a server that scrapes the daemon of h every second.
type prometheus struct{ h *host }

// prometheus starts a server and waits until it answers. It ends with the test.
func (h *host) prometheus() prometheus {
	h.tb.Helper()
	dir := filepath.Join(h.dir, "prometheus")
	for name, text := range map[string]string{
		// As they are shipped, but that what is asked for each five minutes is asked for each second.
		"rules.yml": strings.ReplaceAll(h.must("assets", "rules"), "interval: 5m", "interval: 1s"),
		"prometheus.yml": fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: xdpallow, static_configs: [{targets: [%q]}]}]
`, metricsAt),
	} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			h.tb.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			h.tb.Fatal(err)
		}
	}
	var log strings.Builder
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAt)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := h.lab.Host.Start(cmd); err != nil {
		h.tb.Fatalf("start prometheus: %v", err)
	}
	h.tb.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait() // the log tells
		if h.tb.Failed() {
			h.tb.Log(log.String())
		}
	})
	p := prometheus{h}
	h.eventually("prometheus is ready", func() bool {
		_, err := p.get("/-/ready", nil)
		return err == nil
	})
	return p
}

func (p prometheus) get(path string, query url.Values) ([]byte, error) {
	response, err := p.h.lab.Host.HTTPClient(netip.Addr{}, 5*time.Second).Get("http://" + prometheusAt + path + "?" + query.Encode())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}

// data asks the HTTP API for the data of an answer.
func data[A any](p prometheus, path string, query url.Values) (found A) {
	p.h.tb.Helper()
	body, err := p.get("/api/v1/"+path, query)
	answer := struct{ Data *A }{&found}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		p.h.tb.Fatalf("ask prometheus for %s %v: %v", path, query, err)
	}
	return found
}

// query evaluates an expression now: a value for each series.
func (p prometheus) query(expr string) (values []float64) {
	p.h.tb.Helper()
	type vector struct {
		Result []struct{ Value [2]any }
	}
	for _, series := range data[vector](p, "query", url.Values{"query": {expr}}).Result {
		value, err := strconv.ParseFloat(fmt.Sprint(series.Value[1]), 64)
		if err != nil {
			p.h.tb.Fatalf("%s: %v", expr, err)
		}
		values = append(values, value)
	}
	return values
}

// becomes waits until an expression has one series of this value.
func (p prometheus) becomes(want float64, expr string) {
	p.h.tb.Helper()
	var got []float64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = p.query(expr); len(got) == 1 && got[0] == want {
			return
		}
	}
	p.h.tb.Fatalf("%s is %v, want %v", expr, got, want)
}

// Promise: what Prometheus sums is what was sent, frame by frame; the rules are sound
// there; the alert for an open gate is up while one is open, and no longer.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	p := h.prometheus()
	audit := h.run(append(alone, "--mode", "audit", "--metrics", metricsAt)...)
	open := `count(ALERTS{alertname="XdpallowNotEnforcing",alertstate="firing",severity="critical"}) or vector(0)`
	p.becomes(1, `up{job="xdpallow"}`)
	p.becomes(1, open)
	audit.stop()
	h.run(append(alone, "--metrics", metricsAt)...)
	p.becomes(1, `xdpallow_enforcing`)
	p.becomes(0, open)

	// IPv6 speaks without being asked.
	frames := `sum(xdpallow_packets_total{layer="xdp",family!="ipv6"%s})`
	all := fmt.Sprintf(frames, "")
	before, passed := p.query(all)[0], p.query(fmt.Sprintf(frames, `,verdict="pass"`))[0]
	flooded, err := h.link().Flood(t.Context(), netlab.Flood{Sources: attackers, Target: h.api4(), Rate: floodRate, Count: 3 * floodRate, Seed: seed(t)})
	if err != nil || flooded.Arrived() == 0 {
		t.Fatalf("flood: %+v %v", flooded, err)
	}
	p.becomes(before+float64(flooded.Arrived()), all)
	p.becomes(float64(flooded.Arrived()), `sum(xdpallow_packets_total{layer="xdp",verdict="drop",reason="not_listed",interface="eth0"})`)
	p.becomes(passed, fmt.Sprintf(frames, `,verdict="pass"`))

	p.healthy()
	p.draws()
}

// healthy fails the test for each rule that Prometheus cannot evaluate.
func (p prometheus) healthy() {
	p.h.tb.Helper()
	type groups struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	rules := 0
	for _, group := range data[groups](p, "rules", nil).Groups {
		for _, rule := range group.Rules {
			rules++
			if rule.Health != "ok" {
				p.h.tb.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
		}
	}
	if want := strings.Count(p.h.must("assets", "rules"), "- alert:"); rules != want || want == 0 {
		p.h.tb.Errorf("%d rules are loaded of %d", rules, want)
	}
}

// draws fails the test for each panel whose query fails, and for the main one if it
// does not show the flood.
func (p prometheus) draws() {
	p.h.tb.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(p.h.must("assets", "dashboard")), &board); err != nil {
		p.h.tb.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", ".*")
	flood := 0.0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			for _, value := range p.query(variables.Replace(target.Expr)) {
				if panel.Title == "Dropped by reason" {
					flood += value
				}
			}
		}
	}
	if flood <= 0 {
		p.h.tb.Errorf("the main panel shows no flood")
	}
}
