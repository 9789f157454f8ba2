// This file stores in the database what is declared: the settings, and the claims of the origins that
// are not kept. So a damaged list loses none of it.

package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Last returns what was declared at the last change: before OpenDatabase from the list, after it from
// the database. Generation 0 means that there was no change. Errors are those of Claims.
func (s *Store) Last() (last Effective, err error) {
	if !s.isOpen() {
		if s.readOnly {
			return LoadDeclared(s.dir)
		}
		return s.memory.Effective, nil
	}
	var generation uint64
	err = s.read(func(from source) (err error) {
		if last, err = readDeclared(from); err != nil {
			return err
		}
		generation, err = readNumber(from, keyGeneration)
		return err
	})
	if err == nil && last.Generation == 0 && len(last.Services) == 0 {
		return s.Declared()
	}
	last.Generation = max(last.Generation, generation)
	return last, err
}

// Declared is LoadDeclared as of the last committed change. A list is written before its change is
// committed: after a power loss between the two, the change was never made, and the list before it
// is put back. Errors are those of LoadDeclared and Generation.
func (s *Store) Declared() (Effective, error) {
	list, err := LoadDeclared(s.dir)
	if err != nil {
		return list, err
	}
	committed, err := s.Generation()
	// Without a generation the database was moved aside, and the list is all there is.
	if err != nil || committed == 0 || list.Generation <= committed {
		return list, err
	}
	previous, err := loadFile(filepath.Join(s.dir, previousName), policy.Origin.Kept)
	if err != nil || previous.Generation > committed { // an older database was put back by hand
		return list, nil
	}
	if s.readOnly {
		return previous, nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	err = errors.Join(linkOver(filepath.Join(s.dir, previousName), filepath.Join(s.dir, effectiveName)), syncDir(s.dir))
	if err != nil {
		return list, fmt.Errorf("put back generation %d of the list: %w", previous.Generation, err)
	}
	return previous, nil
}

// pieceSize is how much of what is declared one record of the database holds, in bytes.
const pieceSize = 32 << 10

// putDeclared stores the settings and the claims of list but those of kept origins, which have
// records of their own.
func putDeclared(t *txn, list Effective) error {
	list.Claims = slices.DeleteFunc(slices.Clone(list.Claims), func(c *policy.Claim) bool { return c.Origin.Kept() })
	pieces := &pieces{t: t}
	out := bufio.NewWriterSize(pieces, pieceSize)
	err := writeBody(out, list, 0, nil)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return err
	}
	for n := pieces.n; ; n++ { // left over from a longer list
		key := binary.BigEndian.AppendUint32(nil, n)
		old, err := t.get(bucketDeclared, key)
		if err != nil || old == nil {
			return err
		}
		if err := t.put(bucketDeclared, key, nil); err != nil {
			return err
		}
	}
}

// pieces is a writer that stores each chunk as a record.
type pieces struct {
	t *txn
	n uint32
}

func (p *pieces) Write(chunk []byte) (int, error) {
	key := binary.BigEndian.AppendUint32(nil, p.n)
	p.n++
	old, err := p.t.get(bucketDeclared, key)
	if err != nil {
		return 0, err
	}
	if bytes.Equal(old, chunk) {
		return len(chunk), nil
	}
	return len(chunk), p.t.put(bucketDeclared, key, bytes.Clone(chunk))
}

// readDeclared reads what putDeclared stored.
func readDeclared(from source) (Effective, error) {
	var all []io.Reader
	err := from.each(bucketDeclared, nil, func(_, record []byte) error {
		all = append(all, bytes.NewReader(record))
		return nil
	})
	if err != nil || len(all) == 0 {
		return Effective{}, err
	}
	e, err := readEffective(io.MultiReader(all...), nil)
	if err != nil {
		return Effective{}, fmt.Errorf("read what is declared: %w", err)
	}
	return e, nil
}
