// This file reads a fleet's list, once and as it changes.

package fleet

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Main is the list of a fleet that has one.
const Main = "main"

// inRequest is how many chunks are asked for at once: a thousand hosts that ask for them one by
// one keep etcd busy for half a minute. A hundred is the least that etcd allows.
const inRequest = 32

// State is what stands under the keys of a list at one revision.
type State struct {
	ID         string // of the fleet; "" where nobody made it
	List, Next Value  // Next waits for confirmation
	Revision   int64  // of the whole cluster
}

// Value is what stands under one key.
type Value struct {
	Key, Text       string
	Modified, Lease int64 // the revision of its last change; 0: it is not there
}

func (c *Client) key(parts ...string) string {
	return root + c.config.Fleet + "/" + strings.Join(parts, "/")
}

// Read returns the state of list. With stale, a member answers from what it has, without a
// quorum. Errors match ErrUnreachable or ErrForbidden where it is that.
func (c *Client) Read(ctx context.Context, list string, stale bool) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	options := []clientv3.OpOption{}
	if stale {
		options = append(options, clientv3.WithSerializable())
	}
	keys := []string{c.key("id"), c.key("list", list), c.key("next", list)}
	gets := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		gets[i] = clientv3.OpGet(key, options...)
	}
	answer, err := c.etcd.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return State{}, c.explain(err)
	}
	values := make([]Value, len(keys))
	for i, key := range keys {
		values[i].Key = key
		for _, kv := range answer.Responses[i].GetResponseRange().Kvs {
			values[i] = valueOf(kv)
		}
	}
	return State{ID: values[0].Text, List: values[1], Next: values[2], Revision: answer.Header.Revision}, nil
}

func valueOf(kv *mvccpb.KeyValue) Value {
	return Value{Key: string(kv.Key), Text: string(kv.Value), Modified: kv.ModRevision, Lease: kv.Lease}
}

// Fetch returns chunks of list, packed, by their sums. One that is not there is left out.
func (c *Client) Fetch(ctx context.Context, list string, chunks []layout.Chunk) (map[string][]byte, error) {
	packed := make(map[string][]byte, len(chunks))
	for len(chunks) > 0 {
		now := chunks[:min(inRequest, len(chunks))]
		chunks = chunks[len(now):]
		gets := make([]clientv3.Op, len(now))
		for i, chunk := range now {
			gets[i] = clientv3.OpGet(c.key("chunk", list, chunk.Sum), clientv3.WithSerializable())
		}
		// Of several megabytes a slow line may be busy for longer than an answer takes.
		within, cancel := context.WithTimeout(ctx, 10*c.config.Within)
		answer, err := c.etcd.Txn(within).Then(gets...).Commit()
		cancel()
		if err != nil {
			return nil, c.explain(err)
		}
		for i, chunk := range now {
			for _, kv := range answer.Responses[i].GetResponseRange().Kvs {
				packed[chunk.Sum] = kv.Value
			}
		}
	}
	return packed, nil
}

// Watch returns a channel with what changes of list after state, until ctx ends or the watch does.
// Nothing follows from its silence: a watch can say nothing for ever and look well.
func (c *Client) Watch(ctx context.Context, list string, state State) <-chan State {
	out := make(chan State)
	go func() {
		defer close(out)
		// One watch for all keys: what one transaction changes of them comes as one. The identity
		// is among them, for a host may be there before its fleet. The call waits until there is a
		// watch, and a server that hangs makes none.
		watch := c.etcd.Watch(clientv3.WithRequireLeader(ctx), c.key("id"),
			clientv3.WithRange(state.Next.Key+"\x00"), clientv3.WithRev(state.Revision+1))
		for answer := range watch {
			if answer.Err() != nil {
				return
			}
			before := state
			for _, event := range answer.Events {
				value := Value{Key: string(event.Kv.Key)}
				if event.Type == clientv3.EventTypePut {
					value = valueOf(event.Kv)
				}
				switch value.Key {
				case c.key("id"):
					state.ID = value.Text
				case state.List.Key:
					state.List = value
				case state.Next.Key:
					state.Next = value
				}
			}
			if state == before {
				continue // of another list, or of a host
			}
			state.Revision = answer.Header.Revision
			select {
			case out <- state:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// Choose returns the manifest of state that a host of group follows: the one that waits for
// confirmation where it is for that group and newer, else the list's. Errors are those of
// Decode, ErrChanged and ErrNoList.
func (s State) Choose(group string) (*layout.Manifest, error) {
	if s.List.Modified == 0 && (s.Next.Modified == 0 || group == "") {
		return nil, &Problem{Key: s.List.Key, Err: layout.ErrNoList}
	}
	var list, next *layout.Manifest
	var err error
	if s.List.Modified != 0 {
		if list, err = s.decode(s.List); err != nil {
			return nil, err
		}
	}
	if s.Next.Modified != 0 && group != "" {
		if next, err = s.decode(s.Next); err != nil {
			return nil, err
		}
		if next.First != nil && next.First.Group == group && (list == nil || next.Serial > list.Serial) {
			return next, nil
		}
	}
	if list == nil {
		return nil, &Problem{Key: s.List.Key, Err: layout.ErrNoList}
	}
	return list, nil
}

func (s State) decode(v Value) (*layout.Manifest, error) {
	m, err := layout.Decode(v.Key, []byte(v.Text))
	if err == nil && m.Fleet != s.ID {
		return nil, &Problem{Key: v.Key, Err: layout.ErrChanged}
	}
	return m, err
}

// Problem is a list that a host cannot take over as it stands in etcd.
type Problem struct {
	Key string
	Err error // ErrChanged, ErrOlder or ErrNoList
}

func (p *Problem) Error() string { return p.Key + " " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }

// Load returns the list of m, of which had holds a part, and whether the delta of m led there.
// It asks for what had lacks; wait is called before more than a mebibyte is asked for.
func (c *Client) Load(ctx context.Context, list string, m, have *layout.Manifest, had layout.List, wait func()) (after layout.List, delta bool, err error) {
	if m.Delta != nil && have != nil && m.Delta.From == have.Serial && have.First == nil {
		if after, ok := had.Apply(m); ok {
			return after, true, nil
		}
	}
	lacks := had.Lacks(m)
	if len(lacks) > inRequest {
		wait()
	}
	fetched, err := c.Fetch(ctx, list, lacks)
	if err != nil {
		return layout.List{}, false, err
	}
	after, err = had.With(m, fetched)
	return after, false, err
}

// isGone reports whether chunks were missing: their list was written anew meanwhile.
func isGone(err error) bool {
	input, ok := errors.AsType[*policy.InputError](err)
	return ok && strings.HasSuffix(input.What, "is not there")
}
