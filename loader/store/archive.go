// This file keeps effective lists beyond the two that there always are: what a
// reload replaced stands nowhere else, and a rollback brings it back.

package store

import (
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
