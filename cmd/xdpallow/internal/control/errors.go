package control

// This file carries errors across the socket, so that the command exits and
// hints as if the daemon's code had run inside it.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// ErrNoDaemon is returned by every Client method when nobody answers on the
// socket; the command exits with 3, or looks at the pins itself.
var ErrNoDaemon = errors.New("no daemon answers")

// ErrForbidden is returned when the caller may not ask for this; the command
// exits with 4.
var ErrForbidden = errors.New("not permitted")

// The codes of a wireError; appended to, never changed.
const (
	codeInput     = "input"     // policy.InputError, 400
	codeForbidden = "forbidden" // ErrForbidden, 403
	codeRefused   = "refused"   // policy.Refused, 409
	codeFailed    = "failed"    // anything else, 500
)

// wireError is an error on the socket.
type wireError struct {
	Error string      `json:"error"`
	Where string      `json:"where"` // "allow.d/acme.list:3", or ""
	Hint  string      `json:"hint"`
	Code  string      `json:"code"`
	More  []wireError `json:"more,omitempty"` // the rest of a joined error
}

// toWire never loses text: what wraps an InputError is kept in Error, at the
// price of Where.
func toWire(err error) wireError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		if all := joined.Unwrap(); len(all) > 0 {
			first := toWire(all[0])
			for _, e := range all[1:] {
				first.More = append(first.More, toWire(e))
			}
			return first
		}
	}
	w := wireError{Error: err.Error(), Code: codeFailed}
	var input *policy.InputError
	var refused *policy.Refused
	switch {
	case errors.As(err, &input):
		w.Code, w.Hint = codeInput, input.Hint
		if err.Error() == input.Error() {
			w.Error, w.Where = input.What, input.Where
		}
	case errors.As(err, &refused):
		w.Code, w.Hint = codeRefused, refused.Hint
	case errors.Is(err, ErrForbidden):
		w.Code = codeForbidden
	}
	return w
}

// err is the inverse of toWire.
func (w wireError) err() error {
	all := []error{w.one()}
	for _, m := range w.More {
		all = append(all, m.one())
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

func (w wireError) one() error {
	switch w.Code {
	case codeInput:
		return &policy.InputError{Where: w.Where, What: w.Error, Hint: w.Hint}
	case codeRefused:
		return &policy.Refused{What: w.Error, Hint: w.Hint}
	case codeForbidden:
		return forbiddenError(w.Error)
	}
	return errors.New(w.Error)
}

// forbiddenError is an ErrForbidden that says in its own words what is not permitted.
type forbiddenError string

func (e forbiddenError) Error() string        { return string(e) }
func (e forbiddenError) Is(target error) bool { return target == ErrForbidden }

func writeError(w http.ResponseWriter, err error) {
	body := toWire(err)
	status := map[string]int{
		codeInput: http.StatusBadRequest, codeForbidden: http.StatusForbidden,
		codeRefused: http.StatusConflict, codeFailed: http.StatusInternalServerError,
	}[body.Code]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a caller that hung up needs no answer
}

// readError turns an answer that is not 200 into the error it stands for.
func readError(status string, body io.Reader) error {
	var w wireError
	if err := json.NewDecoder(io.LimitReader(body, maxBody)).Decode(&w); err != nil || w.Error == "" {
		return fmt.Errorf("the daemon answered %q and did not say why", status)
	}
	return w.err()
}
