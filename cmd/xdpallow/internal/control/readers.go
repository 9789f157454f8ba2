package control

// This file bounds how many lists are being read at a time: of each the state that it is of stays
// in memory until the last of it was read, also when the list has long been replaced.

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// mostReaders is how many may read a list at a time, and readersPatience how long another
// caller waits for a turn: a list is read within moments unless its reader stalls.
const (
	mostReaders     = 2
	readersPatience = 5 * time.Second
)

// readers has one element for each who reads.
type readers chan struct{}

// begin waits for a turn, or says that there is none. Call end after it.
func (r readers) begin(ctx context.Context) error {
	select {
	case r <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(readersPatience):
		return &policy.Refused{What: fmt.Sprintf("%d lists are being read, and nobody reads on", mostReaders), Hint: "xdpallow list"}
	}
}

func (r readers) end() { <-r }
