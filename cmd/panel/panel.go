// Command panel draws what the dashboard's main panel shows of an attack: it floods a
// lab for a minute, and draws what a real Prometheus answers to the panel's own query.
// It runs as root, needs Debian's prometheus, and changes nothing outside its lab:
//
//	make build && go run ./cmd/panel -binary build/xdpallow -o .github/panel.svg
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// The namespace is the lab's own, so every port is free.
const (
	metricsAt    = "127.0.0.1:9463"
	prometheusAt = "127.0.0.1:9090"
	mainPanel    = "Dropped by reason"
)

func main() {
	binary := flag.String("binary", "build/xdpallow", "the command to show")
	picture := flag.String("o", ".github/panel.svg", "where the picture is drawn, an SVG")
	length := flag.Duration("length", time.Minute, "how long the picture is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := show(ctx, *binary, *picture, *length); err != nil {
		fmt.Fprintln(os.Stderr, "panel:", err)
		os.Exit(1)
	}
}

func show(ctx context.Context, binary, picture string, length time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "xdpallow-panel-")
	if err != nil {
		return err
	}
	// Last: only an unmounted directory can be removed.
	defer func() { err = errors.Join(err, unmount(filepath.Join(dir, "bpf")), os.RemoveAll(dir)) }()
	lab, err := netlab.New("panel")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	s := stage{lab: lab, dir: dir, binary: binary}
	defer s.end()
	expr, err := s.query()
	if err == nil {
		err = s.begin(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.attack(ctx, length); err != nil {
		return err
	}
	found, err := s.ask(ctx, expr, length)
	if err != nil {
		return err
	}
	return os.WriteFile(picture, draw(found, length), 0o644)
}

func unmount(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// stage is a protected host, its daemon and its Prometheus.
type stage struct {
	lab         *netlab.Lab
	dir, binary string
	running     []*exec.Cmd
}

// query is what the main panel asks, as Grafana would ask it for a scrape each second.
func (s *stage) query() (string, error) {
	text, err := exec.Command(s.binary, "assets", "dashboard").Output()
	if err != nil {
		return "", fmt.Errorf("print the dashboard: %w", err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		return "", fmt.Errorf("read the dashboard: %w", err)
	}
	for _, p := range board.Panels {
		if p.Title == mainPanel && len(p.Targets) == 1 {
			return strings.NewReplacer("$__rate_interval", "4s", "$__range", "5m", "$instance", ".*").Replace(p.Targets[0].Expr), nil
		}
	}
	return "", fmt.Errorf("the dashboard has no panel %q", mainPanel)
}

// begin starts daemon and Prometheus and waits for the first scrape.
func (s *stage) begin(ctx context.Context) error {
	config := filepath.Join(s.dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs: [{job_name: xdpallow, static_configs: [{targets: [%q]}]}]\n", metricsAt)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	at := func(name string) string { return filepath.Join(s.dir, name) }
	for _, argv := range [][]string{
		{
			s.binary, "run", "--interface", "eth0", "--port", fmt.Sprint(port), "--allow", netlab.ListedPrefix4.String(),
			"--metrics", metricsAt, "--state", at("state"), "--socket", at("socket"), "--bpffs", at("bpf"),
		},
		{"prometheus", "--config.file=" + config, "--storage.tsdb.path=" + at("data"), "--web.listen-address=" + prometheusAt, "--log.level=error"},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stderr = os.Stderr
		if err := s.lab.Host.Start(cmd); err != nil {
			return fmt.Errorf("start %s: %w", argv[0], err)
		}
		s.running = append(s.running, cmd)
	}
	for tries := 0; ; tries++ {
		found, err := s.ask(ctx, "xdpallow_enforcing == 1", time.Second)
		if err == nil && len(found) == 1 {
			return nil
		}
		if tries == 100 {
			return fmt.Errorf("no scrape says that the gate enforces: %w", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *stage) end() {
	for _, cmd := range s.running {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait() // what it had to say is on stderr
	}
}

// series is a line of the panel: a value for each second.
type series struct {
	reason string
	values map[int64]float64 // by Unix time
}

// ask evaluates expr for each second of the last length.
func (s *stage) ask(ctx context.Context, expr string, length time.Duration) ([]series, error) {
	end := time.Now()
	query := url.Values{
		"query": {expr}, "step": {"1"},
		"start": {fmt.Sprint(end.Add(-length).Unix())}, "end": {fmt.Sprint(end.Unix())},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+prometheusAt+"/api/v1/query_range?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := s.lab.Host.HTTPClient(netip.Addr{}, 5*time.Second).Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask prometheus: %w", err)
	}
	defer response.Body.Close()
	return read(response.Body)
}
