// This file runs a probe: it knocks from here, and asks the daemon what the owner has opened.

package probing

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	random "math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/probe"
)

// Counter tells what an owner has opened.
type Counter interface {
	Openings(ctx context.Context, owner string) (api.Openings, error)
}

// Plan is a probe before it is run.
type Plan struct {
	Owner   string
	Service api.ProbeService
	Kind    Kind
	Targets []netip.AddrPort
	LeftOut int // addresses
	Knocks  int // at each target
}

// mostPorts keeps a probe from being a scan of ports.
const mostPorts = 8

// PlanOf returns a probe at each of ports of the addresses in asked, as service. It leaves out the
// addresses that are more than one probe may have. It returns a *policy.Refused in another network
// namespace than the daemon's: what is sent there reaches nobody, and who forwards would be acquitted.
func PlanOf(asked api.ProbePlan, service api.ProbeService, ports []uint16, kind Kind, knocks int) (Plan, error) {
	if here := netdev.Namespace(); asked.Namespace != here && asked.Namespace != 0 {
		in := netdev.NamespaceName(asked.Namespace)
		return Plan{}, &policy.Refused{
			What: "the daemon is in another network namespace, " + in + ": a probe from here would tell nothing",
			Hint: "nsenter --net=" + in + " xdpallow probe " + asked.Owner,
		}
	}
	if len(ports) > mostPorts {
		return Plan{}, &policy.InputError{
			What: fmt.Sprintf("%s at each address is over %d", policy.Count(len(ports), "port", "ports"), mostPorts),
			Hint: "xdpallow probe " + asked.Owner + " --ports 443",
		}
	}
	n := min(len(asked.Addresses), probe.MostTargets/len(ports))
	p := Plan{Owner: asked.Owner, Service: service, Kind: kind, LeftOut: asked.LeftOut + len(asked.Addresses) - n, Knocks: knocks}
	for _, addr := range asked.Addresses[:n] {
		for _, port := range ports {
			p.Targets = append(p.Targets, netip.AddrPortFrom(addr, port))
		}
	}
	return p, nil
}

// Run runs p. The error is that of ctx, of counts, or one of this host; nobody is judged then.
func (p Plan) Run(ctx context.Context, counts Counter) (api.ProbeResult, error) {
	k := Knocker{Kind: p.Kind, Host: p.Service.Host, Patience: probe.Hold * 9 / 10}
	if p.Kind != TLS {
		k.Path = PathOf(rand.Text())
	}
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails
	source := random.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:]))
	out, err := probe.Run(ctx, world{k, counts, p.Owner}, random.New(source), p.Targets, p.Knocks)
	if err != nil {
		return api.ProbeResult{}, err
	}
	r := api.ProbeResult{
		Owner: p.Owner, Service: p.Service.Name, Host: p.Service.Host, Knock: string(p.Kind), Path: k.Path,
		Quiet: out.Quiet, Busy: out.Busy, LeftOut: p.LeftOut, Targets: []api.ProbeTarget{},
	}
	for _, t := range out.Targets {
		r.Targets = append(r.Targets, api.ProbeTarget{
			Address: t.At.Addr(), Port: t.At.Port(), Answer: string(t.Answer),
			Knocks: t.Knocks, Followed: t.Followed, Chance: t.Chance, From: append([]netip.Addr{}, t.From...),
		})
	}
	return r, nil
}

// world is the world as it is.
type world struct {
	Knocker
	counts Counter
	owner  string
}

func (world) Now() time.Time { return time.Now() }

func (world) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w world) Look(ctx context.Context) (probe.Look, error) {
	o, err := w.counts.Openings(ctx, w.owner)
	slices.SortFunc(o.Peers, netip.AddrPort.Compare)
	return probe.Look{Openings: o.Openings, Peers: o.Peers}, err
}
