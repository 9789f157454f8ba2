// Package enrol lets customers let themselves in. Its two halves are two processes: one without rights talks
// with customers over TLS, and the daemon takes from it what package loader/enrol allows, by a socket that
// accepts this one request.
package enrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/events"
)

// Group may use the daemon's socket, which accepts one request: to enrol.
const Group = "xdpallow-enrol"

// Socket is the path of the socket of the daemon whose control socket is this one.
func Socket(control string) string { return filepath.Join(filepath.Dir(control), "enrol.sock") }

// path is the only one, here and towards customers.
const path = "/v1/enrol"

// failure is the body of an answer that is not 200. Its JSON is a contract.
type failure struct {
	Error  string `json:"error"`
	Result string `json:"result"` // one of enrol.Results
}

// Engine keeps the list, and takes events and problems to show.
type Engine interface {
	Enrol(context.Context, api.Caller, enrol.Request) (enrol.Decision, error)
	Tell(events.Event)
	Note(api.Problem)
	Forget(code string)
}

// Desk is the daemon's half.
type Desk struct {
	engine   Engine
	settings enrol.Settings

	mu     sync.Mutex
	pace   enrol.Pace
	counts map[[2]string]uint64 // by owner and result
}

// NewDesk returns a Desk at which owners may enrol by settings.
func NewDesk(engine Engine, settings enrol.Settings) *Desk {
	return &Desk{engine: engine, settings: settings, counts: map[[2]string]uint64{}}
}

// again is how long after a failure the socket is tried again.
const again = 2 * time.Second

// Serve answers at socket until ctx ends. While that cannot be had, status has a problem.
func (d *Desk) Serve(ctx context.Context, socket string) {
	problem := api.Problem{Code: "enrol_socket", Subject: socket, Hint: "ss -lxp"}
	for {
		listener, err := control.ListenFor(socket, Group)
		if err == nil {
			d.engine.Forget(problem.Code)
			if info, err := os.Stat(socket); err == nil && info.Mode().Perm() != 0o660 {
				d.engine.Note(api.Problem{
					Code: problem.Code, Subject: socket, Hint: "systemd-sysusers; systemctl restart xdpallow",
					Text: fmt.Sprintf("only root can use it, so customers cannot enrol: group %s is not there, or cannot be given", Group),
				})
			}
			err = control.ServeGroup(ctx, listener, Group, d.answer)
		}
		if ctx.Err() != nil {
			return
		}
		problem.Text = fmt.Sprintf("nobody can enrol: %v", err)
		d.engine.Note(problem)
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (d *Desk) answer(w http.ResponseWriter, r *http.Request, by api.Caller) {
	if r.Method != http.MethodPost || r.URL.Path != path {
		write(w, http.StatusNotFound, failure{"this socket has POST " + path + " and nothing else", enrol.Failed})
		return
	}
	var request enrol.Request
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	body.DisallowUnknownFields()
	if err := body.Decode(&request); err != nil {
		write(w, http.StatusBadRequest, failure{fmt.Sprintf("read the request: %v", err), enrol.Failed})
		return
	}
	request.Address = request.Address.WithZone("") // which can be any text, and would stand in the log
	decision, err := d.ask(r.Context(), by, request)
	if err == nil {
		write(w, http.StatusOK, decision.Answer)
		return
	}
	status, result := http.StatusInternalServerError, enrol.Failed
	if refused, ok := errors.AsType[*enrol.Refused](err); ok {
		status, result = http.StatusForbidden, refused.Result
	}
	if result == enrol.TooOften {
		status = http.StatusTooManyRequests
	}
	write(w, status, failure{err.Error(), result})
}

func write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // fails only when the caller hung up
}

// ask has the engine decide, unless the owner asks too often; it counts and tells what came of it.
func (d *Desk) ask(ctx context.Context, by api.Caller, r enrol.Request) (enrol.Decision, error) {
	owner := r.Owner
	if _, known := d.settings[owner]; !known {
		owner = api.NoOwner // an authority can name any number of them
	}
	d.mu.Lock()
	asked := d.pace.Asked(owner, time.Now())
	d.mu.Unlock()
	if asked > enrol.PerMinute {
		err := &enrol.Refused{Result: enrol.TooOften, What: fmt.Sprintf("%.64q asks more than %d times a minute", r.Owner, enrol.PerMinute)}
		d.count(owner, enrol.TooOften)
		if asked == enrol.PerMinute+1 { // once a minute
			d.tell(r, owner, enrol.TooOften, err)
		}
		return enrol.Decision{}, err
	}
	decision, err := d.engine.Enrol(ctx, by, r)
	result := decision.Result
	if err != nil {
		result = enrol.Failed
		if refused, ok := errors.AsType[*enrol.Refused](err); ok {
			result = refused.Result
		}
	}
	d.count(owner, result)
	if result != enrol.Standing { // of which nothing is new
		d.tell(r, owner, result, err)
	}
	return decision, err
}

// tell makes an event of a request, and a line of the log where it was refused; the engine logs the others.
func (d *Desk) tell(r enrol.Request, owner, result string, err error) {
	e := events.Event{
		Time: time.Now().UTC(), Verdict: "pass", Reason: result, Family: "ipv6", Source: r.Address.Unmap(), Weight: 1, Owner: owner,
	}
	if e.Source.Is4() {
		e.Family = "ipv4"
	}
	if err != nil {
		e.Verdict, e.Reason = "drop", "enrol_"+result
		slog.Warn(fmt.Sprintf("%.64q did not enrol from %s, certificate %.128q: %v", r.Owner, r.Address, r.Certificate, err))
	}
	d.engine.Tell(e)
}

func (d *Desk) count(owner, result string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[[2]string{owner, result}]++
}

// Counts returns what became of requests, by owner, zeros too: an alert on the first one needs a zero before it.
func (d *Desk) Counts() (all []api.Enrolment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	owners := []string{api.NoOwner}
	for owner := range d.settings {
		owners = append(owners, owner)
	}
	slices.Sort(owners)
	for _, owner := range owners {
		for _, result := range enrol.Results {
			if result != enrol.TooOften && (owner == api.NoOwner) != (result == enrol.UnknownOwner) {
				continue // cannot be
			}
			all = append(all, api.Enrolment{Owner: owner, Result: result, Requests: d.counts[[2]string{owner, result}]})
		}
	}
	return all
}
