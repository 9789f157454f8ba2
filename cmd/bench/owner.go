// This file measures what a request to an API costs when nginx asks for each one whose address
// it comes from, beside nginx alone and nginx with a copy of the list.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	partOwner = "owner"

	ownerPrefixes = 100_000
	ownerTime     = 3 * time.Second // a measurement
	ownerAddr     = "127.0.0.1:9464"
)

// ownerRows are what nginx does for a request, by the port at which it does so.
var ownerRows = []struct {
	cell string
	port int
}{{"without", 8001}, {"auth_request", 8002}, {"auth_request, cached for 1 s", 8003}, {"geo, a copy of the list", 8004}}

func ownerClaims() []claim {
	c := func(text, group, cell, over string, must, goal float64) claim {
		return claim{part: partOwner, text: text, group: group, cell: cell, over: over, must: must, goal: goal, atLeast: true}
	}
	return []claim{
		c("requests/s through nginx that asks, with the cache of its asset, over nginx alone", "requests/s", ownerRows[2].cell, ownerRows[0].cell, 0.5, 0.7),
		c("answers of the owner endpoint in a second of a CPU", "answers/s a CPU", "endpoint", "", 8000, 10_000),
	}
}

// ownerSite is a daemon that answers, and an nginx with one worker that asks.
type ownerSite struct {
	*world
	nginx *exec.Cmd
}

func owner(rounds int) (s samples, err error) {
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	site := &ownerSite{world: w}
	defer func() { err = errors.Join(err, site.end()) }()
	if err := site.begin(); err != nil {
		return nil, err
	}
	wire, host := w.lab.Wire, w.lab.Link("eth0").Host4
	note := func(round int, group, cell string, value float64) { s = append(s, sample{round, group, cell, value}) }
	for round := range rounds {
		for _, row := range ownerRows {
			one, err := site.load(wire.Start, fmt.Sprintf("http://%s:%d/", host, row.port))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", row.cell, err)
			}
			note(round, "requests/s", row.cell, one.rate)
			note(round, "nginx µs", row.cell, one.nginx)
			note(round, "daemon µs", row.cell, one.daemon)
		}
		one, err := site.load(w.lab.Host.Start, "http://"+ownerAddr+"/v1/owner/api", "-H", "X-Forwarded-For: "+w.lab.Link("eth0").Wire4.String())
		if err != nil {
			return nil, fmt.Errorf("the endpoint: %w", err)
		}
		note(round, "answers/s a CPU", "endpoint", 1e6/one.daemon)
		note(round, "requests/s", "endpoint", one.rate)
		fmt.Fprintf(os.Stderr, "owner: round %d of %d\n", round+1, rounds)
	}
	return s, nil
}

// begin starts the daemon with the list, and nginx.
func (o *ownerSite) begin() error {
	if err := os.Chmod(o.dir, 0o755); err != nil { // a worker of nginx is not root
		return err
	}
	var list strings.Builder
	for i, p := range newList(ownerPrefixes, false).prefixes {
		fmt.Fprintf(&list, "%v owner=o-%d\n", p, i%1000)
	}
	fmt.Fprintf(&list, "%v/32 owner=bench\n", o.lab.Link("eth0").Wire4)
	config := fmt.Sprintf("allow_files: [all.list]\nowner: {socket: owner.sock, group: www-data, listen: %q}\n", ownerAddr)
	if err := errors.Join(o.write("all.list", list.String()), o.write("config.yaml", config)); err != nil {
		return err
	}
	o.flags = []string{"--config", o.file("config.yaml"), "--allow-any"}
	if _, err := o.start(); err != nil {
		return err
	}
	out := func(args ...string) (string, error) {
		text, err := exec.Command(shipped, args...).Output()
		return string(text), err
	}
	asset, err := out("assets", "nginx")
	geo, geoErr := out("list", "-o", "nginx", "--socket", o.file("socket"))
	if err := errors.Join(err, geoErr, o.write("geo.conf", geo), o.write("index.html", "ok\n")); err != nil {
		return err
	}
	if err := o.write("nginx.conf", o.conf(asset)); err != nil {
		return err
	}
	o.nginx = exec.Command("nginx", "-p", o.dir, "-c", o.file("nginx.conf"))
	o.nginx.Stderr = &o.log
	if err := o.lab.Host.Start(o.nginx); err != nil {
		return err
	}
	for deadline := time.Now().Add(hang); ; time.Sleep(50 * time.Millisecond) {
		var conn net.Conn
		err := o.lab.Host.Do(func() (err error) { conn, err = net.Dial("tcp", "127.0.0.1:8004"); return err })
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for nginx: %w\n%s", err, o.log.Bytes())
		}
	}
}

// conf is a config of nginx with a server a row. The asset's own location stands in that with
// the cache, and without its cache in the other.
func (o *ownerSite) conf(asset string) string {
	asset = strings.NewReplacer("/run/xdpallow/owner.sock", o.file("owner.sock"), "/var/cache/nginx-xdpallow", o.file("cache")).Replace(asset)
	head, _, _ := strings.Cut(asset, "server {\n    listen")
	_, asking, _ := strings.Cut(asset, "    location = /xdpallow {")
	asking = "location = /xdpallow {" + strings.TrimSuffix(strings.TrimSpace(asking), "}")
	var plain strings.Builder
	for line := range strings.Lines(asking) {
		if !strings.Contains(line, "proxy_cache") {
			plain.WriteString(line)
		}
	}
	file := fmt.Sprintf("location / { root %s; %%s }", o.dir)
	ask := fmt.Sprintf(file, "auth_request /xdpallow;")
	return fmt.Sprintf(`user www-data; daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr; events {}
http { access_log off; keepalive_requests 1000000000; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s
geo $geo_owner { default ""; include geo.conf; }
server { listen 8001; %[3]s }
server { listen 8002; %[4]s %[5]s }
server { listen 8003; %[4]s %[6]s }
server { listen 8004; if ($geo_owner = "") { return 403; } %[3]s }
}
`, o.dir, head, fmt.Sprintf(file, ""), ask, plain.String(), asking)
}

func (o *ownerSite) write(name, text string) error {
	return os.WriteFile(o.file(name), []byte(text), 0o644)
}

func (o *ownerSite) end() error {
	if o.nginx != nil && o.nginx.Process != nil {
		_ = o.nginx.Process.Signal(unix.SIGTERM)
		_ = o.nginx.Wait()
	}
	return o.close()
}

// loaded is what one load made: requests/s, and µs of CPU for each.
type loaded struct{ rate, nginx, daemon float64 }

// load asks for url over 16 connections for a while.
func (o *ownerSite) load(start func(*exec.Cmd) error, url string, args ...string) (l loaded, err error) {
	workers, err := children(o.nginx.Process.Pid)
	if err != nil {
		return l, err
	}
	before := [2]time.Duration{cpuTime(workers...), cpuTime(o.daemon.Process.Pid)}
	var out strings.Builder
	wrk := exec.Command("wrk", append([]string{"-t1", "-c16", fmt.Sprintf("-d%.0fs", ownerTime.Seconds()), url}, args...)...)
	wrk.Stdout, wrk.Stderr = &out, &out
	if err = start(wrk); err == nil {
		err = wrk.Wait()
	}
	after := [2]time.Duration{cpuTime(workers...), cpuTime(o.daemon.Process.Pid)}
	if err != nil || strings.Contains(out.String(), "Non-2xx") || strings.Contains(out.String(), "Socket errors") {
		return l, fmt.Errorf("%s: %w\n%s\n%s", url, err, out.String(), o.log.Bytes())
	}
	for line := range strings.Lines(out.String()) {
		var requests float64
		if n, _ := fmt.Sscanf(strings.TrimSpace(line), "%f requests in", &requests); n == 1 {
			l = loaded{requests / ownerTime.Seconds(), float64(after[0]-before[0]) / 1e3 / requests, float64(after[1]-before[1]) / 1e3 / requests}
		}
	}
	if l.rate == 0 {
		return l, fmt.Errorf("wrk says nothing of requests:\n%s", out.String())
	}
	return l, nil
}

// children are the processes that pid started.
func children(pid int) (pids []int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, n)
	}
	return pids, err
}

// cpuTime is how long processes have run, in steps of a tick; of one that is gone nothing.
func cpuTime(pids ...int) (ran time.Duration) {
	for _, pid := range pids {
		text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 12 {
			for _, field := range fields[11:13] {
				n, _ := strconv.ParseInt(field, 10, 64)
				ran += time.Duration(n) * tick
			}
		}
	}
	return ran
}
