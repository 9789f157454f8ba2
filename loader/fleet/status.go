// This file is what hosts say of themselves: each under a key that ends with the host's lease, and
// a mark without one, by which a host that is silent is missed.

package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Host is what is known of one host.
type Host struct {
	Name  string    `json:"host"`
	Group string    `json:"group,omitempty"`
	Since time.Time `json:"since"` // when it came to the fleet

	// What it said last. All is zero where it is silent.
	List    string    `json:"list,omitempty"`
	Serial  uint64    `json:"serial"`
	Time    time.Time `json:"time"`
	Version string    `json:"version,omitempty"`
	Silent  bool      `json:"silent"`
	Report
}

// Report is how it goes on a host.
type Report struct {
	Enforcing  string   `json:"enforcing"` // "yes", "no", "audit": as status has it
	Generation uint64   `json:"generation"`
	Prefixes   int      `json:"prefixes"`
	Problems   []string `json:"problems,omitempty"` // codes

	Owners map[string]time.Time `json:"owners,omitempty"` // when each was last seen, those seen last, see LatestOwners
}

// mostOwners bounds what one host tells of owners: a thousand hosts do.
const mostOwners = 500

// LatestOwners are those of seen that were seen last.
func LatestOwners(seen map[string]time.Time) map[string]time.Time {
	if len(seen) <= mostOwners {
		return seen
	}
	names := slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Or(seen[b].Compare(seen[a]), cmp.Compare(a, b)) })
	latest := map[string]time.Time{}
	for _, name := range names[:mostOwners] {
		latest[name] = seen[name]
	}
	return latest
}

// Equal reports whether a and b tell an operator the same: entries may come and go.
func (a Report) Equal(b Report) bool {
	return a.Enforcing == b.Enforcing && a.Prefixes == b.Prefixes && slices.Equal(a.Problems, b.Problems)
}

// known is what stands under known/HOST.
type known struct {
	Group string    `json:"group,omitempty"`
	Since time.Time `json:"since"`
}

// Hosts returns what is known of all hosts and what they say of list, by name.
func (c *Client) Hosts(ctx context.Context, list string) (hosts []Host, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.config.Within)
	defer cancel()
	answer, err := c.etcd.Txn(ctx).Then(
		clientv3.OpGet(c.key("known", ""), clientv3.WithPrefix()),
		clientv3.OpGet(c.key("host", list, ""), clientv3.WithPrefix()),
	).Commit()
	if err != nil {
		return nil, c.explain(err)
	}
	byName := map[string]*Host{}
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		var k known
		name := lastPart(kv.Key)
		if json.Unmarshal(kv.Value, &k) == nil && policy.ParseNote(name) == nil {
			byName[name] = &Host{Name: name, Group: policy.Printable(k.Group), Since: k.Since, Silent: true}
		}
	}
	for _, kv := range answer.Responses[1].GetResponseRange().Kvs {
		var h Host
		name := lastPart(kv.Key)
		if json.Unmarshal(kv.Value, &h) != nil || policy.ParseNote(name) != nil {
			continue
		}
		h.Name, h.Silent = name, false
		h.tame()
		if k := byName[name]; k != nil {
			h.Since = k.Since
		}
		byName[name] = &h
	}
	for _, h := range byName {
		hosts = append(hosts, *h)
	}
	slices.SortFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts, nil
}

// tame takes out of h what an operator's terminal would obey.
func (h *Host) tame() {
	for _, word := range []*string{&h.Group, &h.Version, &h.Enforcing} {
		*word = policy.Printable(*word)
	}
	for i, code := range h.Problems {
		h.Problems[i] = policy.Printable(code)
	}
}

func lastPart(key []byte) string {
	text := string(key)
	return text[strings.LastIndexByte(text, '/')+1:]
}

// Forget takes a host that is gone off the list of hosts. One that is there enters it again.
func (c *Client) Forget(ctx context.Context, host string) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Within)
	defer cancel()
	answer, err := c.etcd.Delete(ctx, c.key("known", host))
	if err != nil {
		return false, c.explain(err)
	}
	return answer.Deleted > 0, nil
}

// Init makes the fleet's identity, unless there is one. It returns the one that stands.
func (c *Client) Init(ctx context.Context) (id string, made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.config.Within)
	defer cancel()
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	id = hex.EncodeToString(random)
	key := c.key("id")
	answer, err := c.etcd.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, id)).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return "", false, c.explain(err)
	}
	if answer.Succeeded {
		return id, true, nil
	}
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		return string(kv.Value), false, nil
	}
	return "", false, errors.New("etcd answers neither yes nor no")
}
