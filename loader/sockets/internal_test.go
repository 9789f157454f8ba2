package sockets

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// For the tests from outside: half-open connections are in no result, and what the
// kernel leaves out cannot be told from what we do.
var (
	Unfinished = unfinished
	Dump       = func(low, high uint16, states ...State) ([]Conn, error) {
		return dump(unix.IPPROTO_TCP, low, high, states...)
	}
)

// Promise: a kernel without CONFIG_INET_DIAG_DESTROY is told apart from a lack of
// rights. No kernel that we can boot is built so: this is the errno of sock_diag.c.
func TestDestroyErrors(t *testing.T) {
	for _, test := range []struct{ from, want error }{
		{fmt.Errorf("%w: text of the kernel", unix.EOPNOTSUPP), ErrNoDestroy},
		{unix.EPERM, unix.EPERM},
		{unix.ENOBUFS, unix.ENOBUFS},
	} {
		got := destroyError(test.from)
		if !errors.Is(got, test.want) || errors.Is(got, ErrNoDestroy) != (test.want == ErrNoDestroy) {
			t.Errorf("%v becomes %v, want %v", test.from, got, test.want)
		}
	}
}
