// This file archives lists that a change replaces: what a reload read before stands nowhere
// else, and a rollback needs it.

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// archiveName is the file of the list that the change of a generation replaced.
func archiveName(generation uint64) string {
	return effectiveName + ".before-" + strconv.FormatUint(generation, 10)
}

// ArchiveList archives the list on disk, which the change to generation is about to
// replace. Name that generation in Change.UndoData. When it returns nil the archive is on
// disk. Errors are those of the file system.
func (s *Store) ArchiveList(generation uint64) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	err := linkOver(filepath.Join(s.dir, effectiveName), filepath.Join(s.dir, archiveName(generation)))
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("archive the list: %w", err)
	}
	return nil
}

// LoadArchived returns the list archived for generation, as LoadDeclared does, and what these kept
// origins claimed. It fails with fs.ErrNotExist where there is none, and where its checksum does not
// match.
func (s *Store) LoadArchived(generation uint64, kept ...policy.Origin) (Effective, error) {
	name := archiveName(generation)
	e, err := loadFile(filepath.Join(s.dir, name), func(o policy.Origin) bool { return o.Kept() && !slices.Contains(kept, o) })
	if err != nil {
		return Effective{}, fmt.Errorf("read %s of %s: %w", name, s.dir, err)
	}
	return e, nil
}

// PruneArchives removes every archived list but that of generation. A failure costs only
// space, and is not reported.
func (s *Store) PruneArchives(generation uint64) {
	files, _ := os.ReadDir(s.dir)
	for _, file := range files {
		name := file.Name()
		if strings.HasPrefix(name, effectiveName+".before-") && name != archiveName(generation) {
			_ = os.Remove(filepath.Join(s.dir, name))
		}
	}
}
