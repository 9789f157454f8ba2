// This file is a host's word to its fleet: that it is there, what it has, and how it goes.

package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/source"
)

// Self is this host, as its fleet gets to know it.
type Self struct {
	Name    string // under which its status stands, unless its certificate has a name
	Version string
	Report  func() Report // called now and then, from several goroutines

	Owners func() map[string]time.Time // likewise, and seldom: when owners were last seen; nil tells none
}

// Followers returns what follows an origin, lists in etcd as host self.
func Followers(self Self) func(source.Settings) source.Follower {
	return func(s source.Settings) source.Follower {
		if s.Etcd == nil {
			return source.New(s)
		}
		return newFollower(s, self, intervals)
	}
}

// A put for each of many hosts after each change is spread over spreadTold.
const (
	manyHosts  = 200
	spreadTold = 2 * time.Second
)

// ownersEvery is when it is told anew that owners were seen, though nothing else has changed.
const ownersEvery = 10 * time.Minute

// tell keeps the status of this host in etcd until ctx ends. It ends with the host's lease, so
// that a host that hangs or burns down is seen to be silent; no word of it is in the way of
// following.
func (f *follower) tell(ctx context.Context, client *Client) {
	if f.self.Report == nil {
		return
	}
	name := cmp.Or(f.config.user(), f.self.Name)
	for retry := f.times.Retry; ctx.Err() == nil; retry = min(2*retry, f.times.Most) {
		hosts, err := client.enter(ctx, name, f.settings.Etcd.Group)
		if err == nil {
			f.keepTelling(ctx, client, name, hosts)
		}
		if !wait(ctx, around(retry, 0.5)) {
			return
		}
	}
}

// keepTelling tells for as long as one lease can be kept.
func (f *follower) keepTelling(ctx context.Context, client *Client, name string, hosts int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lease, err := client.lease(ctx, f.times.Lease)
	if err != nil {
		return
	}
	alive, err := client.etcd.KeepAlive(ctx, lease)
	if err != nil {
		return
	}
	look := time.NewTicker(f.times.Lease / 30)
	defer look.Stop()
	var said Report
	told, at := uint64(0), time.Time{}
	for {
		serial, now := f.serial.Load(), f.self.Report()
		if serial != told || !now.Equal(said) || time.Since(at) > ownersEvery {
			if hosts > manyHosts && !wait(ctx, time.Duration(rand.Float64()*float64(spreadTold))) {
				return
			}
			if f.self.Owners != nil {
				now.Owners = LatestOwners(f.self.Owners())
			}
			status := Host{
				Name: name, Group: f.settings.Etcd.Group, List: f.settings.Etcd.List,
				Serial: f.serial.Load(), Time: time.Now().UTC().Truncate(time.Second), Version: f.self.Version, Report: now,
			}
			if client.putStatus(ctx, status, lease) != nil {
				return
			}
			told, said, at = status.Serial, now, time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case _, open := <-alive:
			if !open {
				return
			}
		case <-f.told:
		case <-look.C:
		}
	}
}

func (c *Client) putStatus(ctx context.Context, h Host, lease clientv3.LeaseID) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	_, err = c.etcd.Put(ctx, c.key("host", h.List, h.Name), string(text), clientv3.WithLease(lease))
	return err
}

// enter marks host as one of the fleet, once, and returns how many there are.
func (c *Client) enter(ctx context.Context, host, group string) (hosts int, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	text, err := json.Marshal(known{Group: group, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return 0, err
	}
	key := c.key("known", host)
	answer, err := c.etcd.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(text)), clientv3.OpGet(c.key("known", ""), clientv3.WithPrefix(), clientv3.WithCountOnly())).
		Else(clientv3.OpGet(key), clientv3.OpGet(c.key("known", ""), clientv3.WithPrefix(), clientv3.WithCountOnly())).Commit()
	if err != nil {
		return 0, err
	}
	hosts = int(answer.Responses[1].GetResponseRange().Count)
	if answer.Succeeded {
		return hosts, nil
	}
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		var was known
		if json.Unmarshal(kv.Value, &was) == nil && was.Group != group {
			_, err = c.etcd.Put(ctx, key, string(text))
		}
	}
	return hosts, err
}
