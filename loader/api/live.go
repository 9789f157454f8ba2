package api

import (
	"time"

	"github.com/xdpallow/xdpallow/loader/talkers"
)

// This file is the gate at a glance.

// Live is the gate at one moment, as `top -o json` prints it. Counters and owners are
// totals: two of these make a rate.
type Live struct {
	Time       time.Time        `json:"time"`
	Host       string           `json:"host"`
	Status     Status           `json:"status"`
	Counters   []Counter        `json:"counters"`
	Owners     []Owner          `json:"owners"`
	Talkers    talkers.Snapshot `json:"talkers"`
	EventsLost uint64           `json:"events_lost"`
}
