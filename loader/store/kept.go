// This file keeps effective lists beyond the two that there always are: what a
// reload replaced stands nowhere else, and a rollback brings it back.

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// keptName is the effective list that the change of a generation replaced.
func keptName(generation uint64) string {
	return effectiveName + ".before-" + strconv.FormatUint(generation, 10)
}

// KeepEffective keeps the effective list as it is now, which the change that leads
// to generation replaces. Name that generation in Change.Undo.
func (s *Store) KeepEffective(generation uint64) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	err := linkOver(filepath.Join(s.dir, effectiveName), filepath.Join(s.dir, keptName(generation)))
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("keep the effective list: %w", err)
	}
	return nil
}

// LoadKept is LoadDeclared of the list that KeepEffective kept for generation.
func (s *Store) LoadKept(generation uint64) (Effective, error) {
	name := keptName(generation)
	e, err := loadFile(filepath.Join(s.dir, name), policy.OriginCLI)
	if err != nil {
		return Effective{}, fmt.Errorf("read %s of %s: %w", name, s.dir, err)
	}
	return e, nil
}

// ForgetKept removes every list that KeepEffective kept but that of generation.
// Failure costs space only.
func (s *Store) ForgetKept(generation uint64) {
	files, _ := os.ReadDir(s.dir)
	for _, file := range files {
		name := file.Name()
		if strings.HasPrefix(name, effectiveName+".before-") && name != keptName(generation) {
			_ = os.Remove(filepath.Join(s.dir, name))
		}
	}
}

// Last is the policy of the last change, with the claims of all origins but the command
// line; those of the list before OpenDatabase. Without a generation there is none.
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

// Declared is LoadDeclared as of the last change that was committed. A list is
// written before its change is: where the host lost power between the two, the
// change never was, and the list before it is put back in its place.
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
	previous, err := loadFile(filepath.Join(s.dir, previousName), policy.OriginCLI)
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
