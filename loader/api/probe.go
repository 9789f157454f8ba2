package api

import "net/netip"

// This file is what a probe of an owner asks of the gate, and what it finds.

// ProbeRequest asks whom a probe of an owner may knock at. The answer is noted in the history,
// without DryRun: the probe begins.
type ProbeRequest struct {
	Owner  string `json:"owner"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// ProbePlan says whom a probe may knock at, and as which service.
type ProbePlan struct {
	Owner     string         `json:"owner"`
	Addresses []netip.Addr   `json:"addresses"` // sorted
	LeftOut   int            `json:"left_out"`  // addresses beyond those
	Networks  int            `json:"networks"`  // prefixes that are wider, of which only who is connected now is known
	Services  []ProbeService `json:"services"`  // that have TCP ports, by name
	Namespace uint64         `json:"namespace"` // inode of the daemon's network namespace; 0 is not known
}

// ProbeService is a service as its clients see it.
type ProbeService struct {
	Name  string   `json:"name"`
	Host  string   `json:"host"`  // "" is not known
	Ports []uint16 `json:"ports"` // of TCP, sorted
}

// Openings are what an owner opened to the protected TCP ports.
type Openings struct {
	Openings uint64           `json:"openings"` // ever, passed or not
	Peers    []netip.AddrPort `json:"peers"`    // far ends of his open connections, sorted
}

// ProbeResult is what a probe found out.
type ProbeResult struct {
	Owner   string        `json:"owner"`
	Service string        `json:"service"`
	Host    string        `json:"host"`  // in SNI and Host; "" is none
	Knock   string        `json:"knock"` // "tls", "http", "https"
	Path    string        `json:"path"`  // that http and https asked for, else ""
	Quiet   int           `json:"quiet"` // windows without a knock
	Busy    int           `json:"busy"`  // of those, with an opening of the owner
	Targets []ProbeTarget `json:"targets"`
	LeftOut int           `json:"left_out"`
}

// ProbeTarget is what a probe found out about one address and port.
type ProbeTarget struct {
	Address  netip.Addr   `json:"address"`
	Port     uint16       `json:"port"`
	Answer   string       `json:"answer"` // "forwards", "no", "inconclusive", "closed"
	Knocks   int          `json:"knocks"`
	Followed int          `json:"followed"`
	Chance   float64      `json:"chance"` // that all knocks were followed by chance
	From     []netip.Addr `json:"from"`   // where connections came from that opened with a knock
}
