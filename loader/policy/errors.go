// This file is the two kinds of errors that an operator gets: mistakes in the input, and
// changes that are refused.

package policy

import (
	"errors"
	"fmt"
)

// InputError is a mistake in what somebody typed or wrote. Nothing was changed, and the command
// exits with 2.
type InputError struct {
	Where string // "allow.d/acme.list:3", or "" for the command line
	What  string
	Hint  string // a command to paste, or what to write instead, or ""
}

func (e *InputError) Error() string {
	if e.Where == "" {
		return e.What
	}
	return e.Where + ": " + e.What
}

// Refused is a change that was understood and not made, because of a guard rail or of a prefix
// that is not there. The command exits with 1.
type Refused struct {
	What string
	Hint string // a command to paste, or a flag for the command that was refused, or ""
}

func (e *Refused) Error() string { return e.What }

func inputErrorf(where, hint, format string, args ...any) *InputError {
	return &InputError{Where: where, What: fmt.Sprintf(format, args...), Hint: hint}
}

// maxMessages is how many mistakes of one input are reported. A list in another format is wrong
// in every line; the first twenty show that.
const maxMessages = 20

// mistakes gathers the mistakes of one input, so that somebody can mend them in one go.
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

// join adds those of another part of the input.
func (m *mistakes) join(other mistakes) {
	for _, err := range other.errs {
		m.add(err)
	}
	m.more += other.more
}

// err returns nil, the only mistake, or the mistakes joined. where names the input in the line
// that counts those beyond maxMessages.
func (m *mistakes) err(where string) error {
	if m.more > 0 {
		return errors.Join(append(m.errs, inputErrorf(where, "", "and %d more", m.more))...)
	}
	if len(m.errs) == 1 {
		return m.errs[0]
	}
	return errors.Join(m.errs...)
}
