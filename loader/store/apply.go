// This file makes a change durable, in one transaction of the database and in the list.

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Change is what becomes durable together. Each change that is more than Meta gets a serial
// number: by these a start finds out which of database and list is older.
type Change struct {
	Delete     []netip.Prefix   // a prefix that is not there is no error
	Put        []policy.Claim   // after Delete; one a prefix, the last wins
	Resume     []policy.Subject // as Delete
	Suspend    []Suspension     // as Put
	Hold       []Suspension     // as Suspend, but the undo stays as it is
	Unlimit    []string         // owners; as Delete
	Limit      []Limit          // as Put
	Forget     []policy.Origin  // followed origins, with their claims; before Follow
	Follow     []Followed
	Generation uint64 // 0 leaves it

	Log     *Record  // for the change log; nil where nobody asked for the change
	Settle  bool     // confirmed or rolled back: nothing waits for a confirmation any longer
	Confirm *Confirm // what waits for one from now on
	Aside   bool     // no rollback takes it back, not even with a change that waits

	// UndoData is the caller's, for Undo.Data. If it is not nil the change can be rolled
	// back even when it changes no entry, suspension or limit.
	UndoData []byte

	Meta map[string][]byte // a nil value deletes its key

	// List returns the policy after the change. It is called where the list is written as a
	// whole: with Whole, because what is declared has changed, and where the list on disk
	// cannot be appended to. nil where the caller does not know the policy.
	List  func() Effective
	Whole bool
}

// noted reports whether c is only a note of the caller in Meta: that is in the database alone,
// and lost with it.
func (c Change) noted() bool {
	return len(c.Delete)+len(c.Put)+len(c.Resume)+len(c.Suspend)+len(c.Hold)+len(c.Unlimit)+len(c.Limit)+len(c.Follow)+len(c.Forget) == 0 &&
		c.Generation == 0 && c.Log == nil && c.UndoData == nil && !c.Settle && c.Confirm == nil && !c.Whole
}

// Apply makes a change in one transaction. When it returns nil the change is on disk, in the
// database and in the list. When it returns an error, nothing of the change is. It fails with
// ErrReadOnly, with ErrUnconfirmed where change asks for a confirmation and an earlier change
// still waits for one, with an *UnwritableError where nothing can be written (a change of Meta
// alone is then kept in memory), and with a *CorruptError where the database is damaged and
// could not be made again.
func (s *Store) Apply(change Change) error {
	if s.readOnly {
		return ErrReadOnly
	}
	if change.Log != nil {
		change.Log = change.Log.cut(time.Now())
	}
	batches, err := encodeAll(change)
	if err != nil {
		return err
	}
	followed, err := encodeFollow(change)
	if err != nil {
		return err
	}
	err = s.applied(change, batches, followed)
	if _, ok := errors.AsType[*CorruptError](err); ok && s.Mend() == nil { // now made again from the list
		err = s.applied(change, batches, followed)
	}
	if err != nil {
		return err
	}
	if change.Log != nil {
		_ = s.FlushLog() // the change is made; its record waits in the database for the next FlushLog
	}
	return nil
}

// applied makes the change completely or not at all.
func (s *Store) applied(change Change, batches, followed []batch) (err error) {
	if !s.isOpen() {
		if !change.noted() {
			return s.refusal()
		}
		s.note(change.Meta)
		return nil
	}
	var half listHalf
	defer func() {
		if err = half.end(s, err); err == nil && half.serial > 0 {
			s.current.Store(half.serial)
		}
	}()
	return s.update(func(tx *bolt.Tx) error {
		t, err := begun(tx)
		if err != nil {
			return err
		}
		if err := s.apply(t, change, batches, followed); err != nil {
			return err
		}
		if change.noted() {
			return t.finish()
		}
		return half.write(s, t, change)
	})
}

// listHalf is the list's half of a change: on disk before the database commits, and taken
// back where the commit fails.
type listHalf struct {
	serial uint64
	frame  *frame       // appended to effective.changes, or nil
	list   *pendingList // waits for its name, or nil
	held   bool         // s.saving
}

func (h *listHalf) write(s *Store, t *txn, change Change) error {
	h.serial = t.serial
	if change.Whole && change.List == nil {
		return errors.New("the change needs the whole list, and has none")
	}
	if change.List != nil && (change.Whole || s.listIsAnother()) {
		return h.writeWhole(s, t, change.List())
	}
	if err := t.finish(); err != nil {
		return err
	}
	err := s.append(t.frame)
	switch {
	case err == nil:
		h.frame = t.frame
	case errors.Is(err, errJournal) && change.List != nil:
		s.begin()
		return h.writeWhole(s, t, change.List())
	default:
		err = fmt.Errorf("%s: %w", filepath.Join(s.dir, journalName), err)
	}
	return err
}

func (h *listHalf) writeWhole(s *Store, t *txn, list Effective) error {
	t.frame = nil
	err := putDeclared(t, list)
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		return err
	}
	snapshot := &Snapshot{store: s, list: list}
	if snapshot.serial, snapshot.records, err = recordLines(reader{t.Tx}); err != nil {
		return err
	}
	s.saving.Lock()
	h.held = true
	if h.list, err = s.prepare(snapshot); err != nil {
		err = fmt.Errorf("%s: %w", filepath.Join(s.dir, effectiveName), err)
	}
	return err
}

// end completes the list's half when the database has committed, and takes it back when the
// commit failed with err.
func (h *listHalf) end(s *Store, err error) error {
	if h.held {
		defer s.saving.Unlock()
	}
	switch {
	case err != nil && h.frame != nil:
		s.takeBack(h.frame)
	case err != nil && h.list != nil:
		h.list.cancel()
	case h.list != nil:
		// The change is made, and the list is one change behind. A start notices by the
		// serial numbers; until then the next change writes the list again.
		if h.list.commit() != nil {
			s.forgetList()
		}
	}
	return err
}

// update runs fn in a transaction of the database.
func (s *Store) update(fn func(*bolt.Tx) error) error {
	s.swapping.RLock()
	defer s.swapping.RUnlock()
	if s.db == nil {
		return &UnwritableError{s.dir, s.unwritable}
	}
	err := guard(func() error { return s.db.Update(fn) })
	var fault *faultError
	if errors.As(err, &fault) || errors.Is(err, errChecksum) || errors.Is(err, errShort) {
		s.damaged.Store(true)
		return &CorruptError{Path: s.db.Path(), Err: err}
	}
	if err != nil {
		return fmt.Errorf("write state %s: %w", s.db.Path(), err)
	}
	return nil
}

func (s *Store) apply(t *txn, change Change, batches, followed []batch) error {
	before, err := readNumber(reader{t.Tx}, keyGeneration)
	if err != nil {
		return err
	}
	if !change.noted() {
		serial, err := readNumber(reader{t.Tx}, keySerial)
		if err != nil {
			return err
		}
		if err := t.put(bucketFacts, keySerial, binary.BigEndian.AppendUint64(nil, serial+1)); err != nil {
			return err
		}
		t.serial = serial + 1
		if !change.Whole { // of a million changes it would be as long as the list
			t.frame = &frame{serial: t.serial}
		}
		if err := warn(t.Tx); err != nil {
			return err
		}
	}
	if change.Generation != 0 {
		if err := t.put(bucketFacts, keyGeneration, binary.BigEndian.AppendUint64(nil, change.Generation)); err != nil {
			return err
		}
	}
	if change.Log != nil {
		if err := s.putRecord(t, *change.Log, before); err != nil {
			return err
		}
	}
	if err := applyBatches(t, change, batches, before); err != nil {
		return err
	}
	if err := follow(t, change, followed); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(change.Meta)) {
		if err := t.put(bucketMeta, []byte(key), change.Meta[key]); err != nil {
			return err
		}
	}
	return nil
}
