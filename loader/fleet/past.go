// This file is what a list was: the manifests that were replaced, and the chunks that nobody
// names any more.

package fleet

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	keptPast   = 100 // manifests
	cleanEvery = 10  // serials
	atOnce     = 80  // chunks that are deleted in one transaction; etcd takes 128 operations
)

func (c *Client) pastKey(list string, serial uint64) string {
	return c.key("past", list, fmt.Sprintf("%016d", serial))
}

// replace is what makes m the list in place of what view has, and that a manifest of the past.
func (c *Client) replace(ctx context.Context, list string, view View, m *layout.Manifest) ([]clientv3.Op, error) {
	ops := []clientv3.Op{clientv3.OpPut(view.State.List.Key, string(m.Encode()))}
	if view.Manifest == nil {
		return ops, nil
	}
	becomes := c.pastKey(list, view.Manifest.Serial)
	ops = append(ops, clientv3.OpPut(becomes, view.State.List.Text))
	oldest, err := c.oldestKept(ctx, list)
	if err != nil {
		return nil, err
	}
	if oldest != "" {
		// etcd refuses a transaction that puts and deletes one key.
		ops = append(ops, clientv3.OpDelete(c.pastKey(list, 0), clientv3.WithRange(min(oldest, becomes))))
	}
	if m.Serial%cleanEvery != 0 || view.Next != nil {
		return ops, nil
	}
	unnamed, err := c.unnamed(ctx, list, m, view.Manifest)
	for _, key := range unnamed {
		ops = append(ops, clientv3.OpDelete(key))
	}
	return ops, err
}

// oldestKept returns the key of the oldest manifest that is kept when one more is, or "" where all are.
// They are counted: after a backup was restored serials jump.
func (c *Client) oldestKept(ctx context.Context, list string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	answer, err := c.etcd.Get(ctx, c.key("past", list, ""), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(keptPast-1))
	if err != nil {
		return "", c.explain(err)
	}
	if len(answer.Kvs) < keptPast-1 {
		return "", nil
	}
	return string(answer.Kvs[len(answer.Kvs)-1].Key), nil
}

// unnamed returns the keys of chunks that neither manifests nor the past of list name. Who deletes
// them must replace the list in the same transaction: a writer who is about to name one of them
// then begins anew.
func (c *Client) unnamed(ctx context.Context, list string, manifests ...*layout.Manifest) (keys []string, err error) {
	past, err := c.Past(ctx, list, keptPast)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, m := range append(past, manifests...) {
		for _, chunk := range m.Chunks {
			named[chunk.Sum] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	all, err := c.etcd.Get(ctx, c.key("chunk", list, ""), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, c.explain(err)
	}
	for _, kv := range all.Kvs {
		key := string(kv.Key)
		if !named[key[strings.LastIndexByte(key, '/')+1:]] && len(keys) < atOnce {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Past returns the manifests that were replaced, at most most, the latest first. One that cannot be
// read is left out.
func (c *Client) Past(ctx context.Context, list string, most int) (past []*layout.Manifest, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*c.config.Within)
	defer cancel()
	answer, err := c.etcd.Get(ctx, c.key("past", list, ""), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(int64(most)))
	if err != nil {
		return nil, c.explain(err)
	}
	for _, kv := range answer.Kvs {
		if m, err := layout.Decode(string(kv.Key), kv.Value); err == nil {
			past = append(past, m)
		}
	}
	return past, nil
}

// Content returns what m has, a manifest of the list or of its past. had holds some of its chunks.
func (c *Client) Content(ctx context.Context, list string, m *layout.Manifest, had layout.List) (*Content, error) {
	l, _, err := c.Load(ctx, list, m, nil, had, func() {})
	if err != nil {
		return nil, err
	}
	claims, err := l.Claims("")
	return &Content{Claims: claims, Suspended: m.Suspended, Limits: m.Limits, AllowEmpty: m.AllowEmpty, AllowAny: m.AllowAny}, err
}

// Confirm gives every host what waits in a group. It returns that manifest, and the list before.
func (c *Client) Confirm(ctx context.Context, list string) (now, before *layout.Manifest, err error) {
	for range tries {
		view, err := c.patientView(ctx, list, false)
		if err != nil {
			return nil, nil, err
		}
		if view.Next == nil {
			return nil, nil, &policy.Refused{What: "nothing waits for confirmation: it was confirmed, or its time is over", Hint: "xdpallow fleet history"}
		}
		m := *view.Next
		m.First = nil
		next := view
		next.Next = nil
		ops, err := c.replace(ctx, list, next, &m)
		if err != nil {
			return nil, nil, err
		}
		made, err := c.commitOnce(ctx, view.State.List.Key, &m, []clientv3.Cmp{
			clientv3.Compare(clientv3.Value(c.key("id")), "=", view.ID),
			clientv3.Compare(clientv3.ModRevision(view.State.List.Key), "=", view.State.List.Modified),
			clientv3.Compare(clientv3.ModRevision(view.State.Next.Key), "=", view.State.Next.Modified),
		}, append(ops, clientv3.OpDelete(view.State.Next.Key)))
		if made || err != nil {
			return &m, view.Manifest, err
		}
	}
	return nil, nil, &policy.Refused{What: fmt.Sprintf("other writers were quicker %d times", tries), Hint: "xdpallow fleet history"}
}
