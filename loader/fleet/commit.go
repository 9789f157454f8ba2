package fleet

// This file makes a change of a list in etcd: chunks first, then the manifest in one transaction,
// of which the answer may be lost.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
)

const (
	inPut       = 1 << 20          // bytes of chunks in one request; etcd takes 1.5 MiB
	settleTime  = 20 * time.Second // in which etcd says what became of a write that it did not answer
	settleEvery = 500 * time.Millisecond
)

// putChunks writes what had does not hold. A chunk that is there already is written again: a
// writer that cleans up may be about to delete it, and then this write is refused and made anew.
func (c *Client) putChunks(ctx context.Context, list string, m *layout.Manifest, l, had layout.List) error {
	var puts []clientv3.Op
	size := 0
	flush := func() error {
		if len(puts) == 0 {
			return nil
		}
		within, cancel := context.WithTimeout(ctx, 10*c.config.Within)
		defer cancel()
		_, err := c.etcd.Txn(within).Then(puts...).Commit()
		puts, size = nil, 0
		return c.explain(err)
	}
	for _, chunk := range had.Lacks(m) {
		packed := l.Packed(chunk.Sum)
		if packed == nil {
			continue // of a list whose entries were not read: it stands
		}
		if size += len(packed); size > inPut || len(puts) == inRequest {
			if err := flush(); err != nil {
				return err
			}
			size = len(packed)
		}
		puts = append(puts, clientv3.OpPut(c.key("chunk", list, chunk.Sum), string(packed)))
	}
	return flush()
}

// commit makes m what stands, unless another writer was quicker than view: then it returns false.
func (c *Client) commit(ctx context.Context, change Change, view View, m *layout.Manifest) (made bool, err error) {
	compares := []clientv3.Cmp{
		clientv3.Compare(clientv3.Value(c.key("id")), "=", view.ID),
		clientv3.Compare(clientv3.ModRevision(view.State.List.Key), "=", view.State.List.Modified),
		clientv3.Compare(clientv3.ModRevision(view.State.Next.Key), "=", view.State.Next.Modified),
	}
	key := view.State.List.Key
	var ops []clientv3.Op
	if change.Group != "" {
		key = view.State.Next.Key
		lease, err := c.lease(ctx, change.Confirm)
		if err != nil {
			return false, err
		}
		ops = []clientv3.Op{clientv3.OpPut(key, string(m.Encode()), clientv3.WithLease(lease))}
	} else {
		if ops, err = c.replace(ctx, change.List, view, m); err != nil {
			return false, err
		}
		if view.Next != nil {
			ops = append(ops, change.besideNext(view, m))
		}
	}
	return c.commitOnce(ctx, key, m, compares, ops)
}

// besideNext has what waits for confirmation, as edited has made it, stand above m, which is written in
// the same transaction: an owner is stopped in both.
func (change Change) besideNext(view View, m *layout.Manifest) clientv3.Op {
	next := *view.Next
	next.Serial = m.Serial + 1
	next.First = &layout.First{Group: view.Next.First.Group, Over: m.Serial}
	if next.Delta != nil {
		next.Delta = &layout.Delta{From: m.Serial, Lines: view.Next.Delta.Lines}
	}
	return clientv3.OpPut(view.State.Next.Key, string(next.Encode()), clientv3.WithLease(clientv3.LeaseID(view.State.Next.Lease)))
}

func (c *Client) lease(ctx context.Context, d time.Duration) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	lease, err := c.etcd.Grant(ctx, int64(d.Seconds()))
	if err != nil {
		return 0, c.explain(err)
	}
	return lease.ID, nil
}

// commitOnce commits, and where no answer comes finds out whether it was: key has m then.
func (c *Client) commitOnce(ctx context.Context, key string, m *layout.Manifest, compares []clientv3.Cmp, ops []clientv3.Op) (bool, error) {
	within, cancel := context.WithTimeout(ctx, 2*c.config.Within)
	answer, err := c.etcd.Txn(within).If(compares...).Then(ops...).Commit()
	cancel()
	if err == nil {
		return answer.Succeeded, nil
	}
	if !isUnreachable(err) && !errors.Is(err, rpctypes.ErrLeaderChanged) {
		return false, c.explain(err)
	}
	for deadline := time.Now().Add(settleTime); ; {
		within, cancel := context.WithTimeout(ctx, c.config.Within)
		answer, asked := c.etcd.Get(within, key)
		cancel()
		if asked == nil {
			for _, kv := range answer.Kvs {
				if string(kv.Value) == string(m.Encode()) {
					return true, nil
				}
			}
			return false, nil // another try compares again: one that was still under way makes it fail
		}
		if time.Now().After(deadline) || !wait(ctx, settleEvery) {
			return false, fmt.Errorf("serial %d: %w: %w", m.Serial, ErrUnknown, c.explain(err))
		}
	}
}
