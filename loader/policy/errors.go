package policy

import (
	"errors"
	"fmt"
)

// InputError is a mistake in what somebody typed or wrote: nothing was
// changed, and the command exits with 2.
type InputError struct {
	Where string // "allow.d/acme.list:3", or "" for the command line
	What  string
	Hint  string // a command to paste, or what to write instead of what was written, or ""
}

func (e *InputError) Error() string {
	if e.Where == "" {
		return e.What
	}
	return e.Where + ": " + e.What
}

// Refused is a change that was understood and not made: a guard rail, or a
// prefix that is not there. The command exits with 1.
type Refused struct {
	What string
	Hint string // a command to paste, a flag to put into the command that was refused, or ""
}

func (e *Refused) Error() string { return e.What }

func inputErrorf(where, hint, format string, args ...any) *InputError {
	return &InputError{Where: where, What: fmt.Sprintf(format, args...), Hint: hint}
}

// maxMessages is how many mistakes of one input are told; a list of another
// format is wrong in every line, and the first twenty say so.
const maxMessages = 20

// mistakes gathers what is wrong with one input, so that it is mended in one
// go and not line by line.
type mistakes struct {
	errs []error
	more int
}

func (m *mistakes) add(err error) {
	if len(m.errs) == maxMessages {
		m.more++
		return
	}
	m.errs = append(m.errs, err)
}

// err is nil, the only mistake itself, or all of them joined. where names the
// input in the line that counts the rest.
func (m *mistakes) err(where string) error {
	if m.more > 0 {
		return errors.Join(append(m.errs, inputErrorf(where, "", "and %d more", m.more))...)
	}
	if len(m.errs) == 1 {
		return m.errs[0]
	}
	return errors.Join(m.errs...)
}
