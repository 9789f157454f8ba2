// This file writes a list: by compare and swap, so that of two operators the second one decides
// on what the first one made, and so that what was made is never reported as failed.

package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const tries = 5

// ErrUnknown is a write of which etcd said neither that it was made nor that it was not.
var ErrUnknown = errors.New("whether it was written is not known")

// Content is a list without its packing.
type Content struct {
	Claims     []policy.Claim // sorted by policy.ComparePrefix
	Suspended  []layout.Suspension
	Limits     map[string]layout.Limit
	AllowEmpty bool
	AllowAny   bool
}

// View is a list as it stands.
type View struct {
	State
	Manifest *layout.Manifest // nil: there is none yet
	Next     *layout.Manifest // that waits for confirmation, or nil
	List     layout.List      // of Manifest
	Hosts    []Host
}

// Change is what a command makes of a list.
type Change struct {
	List    string
	By      string // who, "alice@bastion"
	Command string
	Reason  string

	Group   string        // takes it over before it is confirmed; "" is every host at once
	Confirm time.Duration // after which what was not confirmed is undone

	// Owners are stopped or limited and entries stay as they are: it passes while another change
	// waits for confirmation, and survives that.
	Overrides bool

	// Edit returns what the list is to be. It is called again where another writer was quicker.
	// An error ends the write, and nil content is no change.
	Edit func(View) (*Content, error)
}

// View reads list as it stands, with a quorum. With entries it fetches them, too.
func (c *Client) View(ctx context.Context, list string, entries bool) (v View, err error) {
	if v.State, err = c.Read(ctx, list, false); err != nil {
		return v, err
	}
	if v.ID == "" {
		return v, &policy.Refused{What: fmt.Sprintf("there is no fleet %s in etcd", c.config.Fleet), Hint: "xdpallow fleet init"}
	}
	if v.State.List.Modified != 0 {
		if v.Manifest, err = v.decode(v.State.List); err != nil {
			return v, err
		}
	}
	if v.State.Next.Modified != 0 {
		if v.Next, err = v.decode(v.State.Next); err != nil {
			return v, err
		}
		if v.Next.First == nil {
			v.Next = nil // of no group: no host follows it
		}
	}
	if v.Hosts, err = c.Hosts(ctx, list); err != nil || v.Manifest == nil {
		return v, err
	}
	if !entries {
		v.List.Chunks = v.Manifest.Chunks
		return v, nil
	}
	v.List, _, err = c.Load(ctx, list, v.Manifest, nil, layout.List{}, func() {})
	return v, err
}

// patientView is View for who is about to write: he does not give up because a leader is lost.
func (c *Client) patientView(ctx context.Context, list string, entries bool) (v View, err error) {
	for try := range tries {
		v, err = c.View(ctx, list, entries)
		again := errors.Is(err, rpctypes.ErrLeaderChanged) || errors.Is(err, ErrUnreachable) && try == 0
		if !again || !wait(ctx, settleEvery) {
			break
		}
	}
	return v, err
}

// furthest is how far ahead of the list a host may be: a backup is not a million changes old, and a
// host that says so would use up the serials, after which nobody could be suspended.
const furthest = 1 << 20

// serial is that of the next change: over all that any host has, also after a backup was restored.
func (v View) serial() uint64 {
	highest := uint64(0)
	for _, m := range []*layout.Manifest{v.Manifest, v.Next} {
		if m != nil {
			highest = max(highest, m.Serial)
		}
	}
	believed := highest + furthest
	for _, h := range v.Hosts {
		if h.Serial <= believed {
			highest = max(highest, h.Serial)
		}
	}
	return highest + 1
}

// Write makes a change and returns the manifest that it is now, and before. Of a change that
// changes nothing both are what stands. Errors match ErrUnreachable, ErrForbidden or ErrUnknown
// where it is that; a *policy.Refused is of Edit, or says that another change waits.
func (c *Client) Write(ctx context.Context, change Change) (now, before *layout.Manifest, err error) {
	for range tries {
		view, err := c.patientView(ctx, change.List, !change.Overrides)
		if err != nil {
			return nil, nil, err
		}
		if view.Next != nil && (!change.Overrides || change.Group != "") {
			return nil, nil, Waiting(view.Next)
		}
		content, err := change.edited(&view)
		if err != nil || content == nil {
			return view.Manifest, view.Manifest, err
		}
		m, list, err := change.manifest(view, content)
		if err != nil {
			return nil, nil, err
		}
		if err := c.putChunks(ctx, change.List, m, list, view.List); err != nil {
			return nil, nil, err
		}
		if made, err := c.commit(ctx, change, view, m); made || err != nil {
			return m, view.Manifest, err
		}
	}
	return nil, nil, &policy.Refused{What: fmt.Sprintf("other writers were quicker %d times", tries), Hint: "xdpallow fleet history"}
}

// edited is what change makes of the list. What waits for confirmation is changed by itself in view: it
// may stop others than the list does.
func (change Change) edited(view *View) (*Content, error) {
	if view.Next == nil {
		return change.Edit(*view)
	}
	waiting := *view
	waiting.Manifest = view.Next
	beside, err := change.Edit(waiting)
	if err != nil || beside == nil { // it is so there already: of that the list decides
		return change.Edit(*view)
	}
	next := *view.Next
	next.Suspended, next.Limits = beside.Suspended, beside.Limits
	view.Next = &next
	content, err := change.Edit(*view)
	if err == nil && content == nil { // only what waits is changed
		content = &Content{Suspended: view.Manifest.Suspended, Limits: view.Manifest.Limits}
	}
	return content, err
}

// Waiting refuses a change while m waits for confirmation.
func Waiting(m *layout.Manifest) error {
	return &policy.Refused{
		What: fmt.Sprintf("serial %d waits for confirmation in group %s: %s (%s)", m.Serial, m.First.Group, m.Command, m.By),
		Hint: "xdpallow fleet confirm",
	}
}

// manifest makes the manifest of content, and its list.
func (change Change) manifest(view View, content *Content) (*layout.Manifest, layout.List, error) {
	m := &layout.Manifest{
		Version: 1, Fleet: view.ID, Serial: view.serial(), Time: time.Now().UTC(),
		By: change.By, Command: change.Command, Reason: change.Reason,
		Suspended: content.Suspended, Limits: content.Limits, AllowEmpty: content.AllowEmpty, AllowAny: content.AllowAny,
	}
	list := view.List
	if change.Overrides {
		if view.Manifest != nil {
			m.AllowEmpty, m.AllowAny = view.Manifest.AllowEmpty, view.Manifest.AllowAny
			m.Delta = &layout.Delta{From: view.Manifest.Serial, Lines: []string{}}
		}
	} else {
		var err error
		if list, err = layout.NewList(content.Claims, view.List); err != nil {
			return nil, list, &policy.InputError{What: err.Error()}
		}
		if view.Manifest != nil {
			before, err := view.List.Claims("")
			if err != nil {
				return nil, list, err
			}
			m.Delta = layout.NewDelta(view.Manifest.Serial, before, content.Claims)
		}
	}
	m.Chunks, m.Entries, m.Sum = list.Chunks, list.Entries(), layout.SumOf(list.Chunks)
	if change.Group != "" {
		m.First = &layout.First{Group: change.Group}
		if view.Manifest != nil {
			m.First.Over = view.Manifest.Serial
		}
	}
	if size := len(m.Encode()); size > writable {
		return nil, list, &policy.Refused{What: fmt.Sprintf("the list would need a manifest of %d KiB, and etcd takes %d", size>>10, writable>>10), Hint: "xdpallow fleet status"}
	}
	_, err := layout.Decode(change.List, m.Encode()) // no host would take over what this does not read
	return m, list, err
}

// writable is half of what etcd takes in a request: the manifest that goes is written with it.
const writable = 700 << 10
