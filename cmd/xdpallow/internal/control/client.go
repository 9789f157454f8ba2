package control

// This file is the daemon as a command sees it, across the socket.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Client asks the daemon behind a socket; what it is to change, a [Change] asks
// of it. Its errors are the daemon's *policy.InputError, *policy.Refused and
// ErrForbidden, or ErrNoDaemon.
type Client struct {
	// Waiting is called as each request begins, tell with what the daemon is at, and done at
	// the end; nil is nobody.
	Waiting func() (tell func(string), done func())
	By      api.Caller // whose Command, Reason and LoginUID go into the change log

	socket  string
	silence time.Duration // after which a daemon is given up
	http    http.Client
}

var _ interface {
	Reader
	Watcher
	Detacher
} = (*Client)(nil)

// NewClient returns a client of the daemon on socket; it connects when asked.
func NewClient(socket string) *Client {
	return &Client{socket: socket, silence: silence, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a command asks once
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		},
	}}}
}

// dialError sets "nobody is there" apart from all that can fail later, when a
// change may have been made.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// Status implements Reader.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, pathStatus, nil)
}

// Stats implements Reader.
func (c *Client) Stats(ctx context.Context) (api.Stats, error) {
	return get[api.Stats](ctx, c, pathStats, nil)
}

// Owners implements Reader.
func (c *Client) Owners(ctx context.Context) (api.Owners, error) {
	return get[api.Owners](ctx, c, pathOwners, nil)
}

// History implements Reader.
func (c *Client) History(ctx context.Context, last int) (api.History, error) {
	return get[api.History](ctx, c, pathHistory, url.Values{"last": {strconv.Itoa(last)}})
}

// Complete implements Watcher.
func (c *Client) Complete(ctx context.Context, begin string, made bool) ([]string, error) {
	return get[[]string](ctx, c, pathComplete, url.Values{"begin": {begin}, "made": {strconv.FormatBool(made)}})
}

// Live implements Watcher.
func (c *Client) Live(ctx context.Context, rows int) (api.Live, error) {
	return get[api.Live](ctx, c, pathLive, url.Values{"rows": {strconv.Itoa(rows)}})
}

// Openings implements Watcher.
func (c *Client) Openings(ctx context.Context, owner string) (api.Openings, error) {
	return get[api.Openings](ctx, c, pathOpenings, url.Values{"owner": {owner}})
}

// Check implements Reader.
func (c *Client) Check(ctx context.Context, addrs []netip.Addr, port *policy.Port) (all []api.CheckResult, err error) {
	query := url.Values{}
	if port != nil {
		query.Set("port", port.String())
	}
	const room = 400 // in a request's header
	for some := range slices.Chunk(addrs, room) {
		query.Del("address")
		for _, addr := range some {
			query.Add("address", addr.String())
		}
		results, err := get[[]api.CheckResult](ctx, c, pathCheck, query)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

// Detach implements Detacher. The daemon asks the kernel who calls.
func (c *Client) Detach(ctx context.Context, _ api.Caller, req api.DetachRequest) (api.DetachResult, error) {
	return Detach.Ask(ctx, c, req)
}

func get[A any](ctx context.Context, c *Client, path string, query url.Values) (answer A, err error) {
	err = c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&answer)
	})
	return answer, err
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, read func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://xdpallow"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	req.Header.Set(headerCommand, url.QueryEscape(c.By.Command))
	req.Header.Set(headerReason, url.QueryEscape(c.By.Reason))
	if c.By.Most > 0 {
		req.Header.Set(headerMost, strconv.Itoa(c.By.Most))
	}
	if c.By.LoginUID != nil {
		req.Header.Set(headerLogin, strconv.FormatUint(uint64(*c.By.LoginUID), 10))
	}
	tell, done := func(string) {}, func() {}
	if c.Waiting != nil {
		tell, done = c.Waiting()
		done = sync.OnceFunc(done)
	}
	defer done()
	waits, listens, forget := heard(ctx, c.silence, tell)
	defer forget()
	resp, err := c.http.Do(req.WithContext(waits))
	listens.answered()
	if err != nil {
		if err = c.failed(silenced(waits, err)); method == http.MethodPost && unanswered(err) {
			err = &unknownError{err}
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return readError(resp.Status, resp.Body)
	}
	route, _, _ := strings.Cut(path, "?")
	switch route {
	case pathEvents, pathEntries, pathExport, pathTable:
		done() // what comes now is shown as it comes
	}
	if route != pathEvents || resp.Header.Get(headerAlive) != "" { // events of an older daemon may be far between
		resp.Body = heardBody{resp.Body, listens}
	}
	switch err := read(resp); {
	case err == nil:
		return nil
	case errors.Is(context.Cause(waits), errSilent):
		err = c.failed(silenced(waits, err))
		if method == http.MethodPost {
			err = &unknownError{err}
		}
		return err
	default:
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
}

// silenced is err, or errSilent if that was why waits ended.
func silenced(waits context.Context, err error) error {
	if errors.Is(context.Cause(waits), errSilent) {
		return &url.Error{Err: errSilent}
	}
	return err
}

// unknownError is the end of a change without an answer.
type unknownError struct{ error }

func (e *unknownError) Error() string { return e.error.Error() + ": not known whether it was made" }

func (e *unknownError) Unwrap() error { return e.error }

// Hint is how to find out.
func (e *unknownError) Hint() string { return "xdpallow history -n 1" }

// unanswered reports whether a request may have been carried out though no answer came.
func unanswered(err error) bool {
	return !errors.Is(err, ErrNoDaemon) && !errors.Is(err, ErrForbidden) && !errors.Is(err, errBusy)
}

// errBusy is a daemon that took no connection: the request never reached it.
var errBusy = errors.New("the daemon is too busy to answer")

// failed says what an unanswered request means.
func (c *Client) failed(err error) error {
	var dial *dialError
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return forbiddenError(fmt.Sprintf("%s: only root and group %s may connect", c.socket, ReadGroup))
	case errors.Is(err, unix.EAGAIN):
		// Its backlog is full: it lives, and nobody may act in its place.
		return fmt.Errorf("%w on %s", errBusy, c.socket)
	case errors.As(err, &dial) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w on %s", ErrNoDaemon, c.socket)
	}
	return fmt.Errorf("ask the daemon on %s: %w", c.socket, errors.Unwrap(err)) // without the made-up URL
}
