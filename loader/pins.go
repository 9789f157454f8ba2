package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// Schema is the number of the layout of maps and programs under the pin root. A
// change of testdata/schema_v5.txt is a new number: the old and the new binary
// then each find their own pins, and hand over to each other.
var Schema = "v5"

// The directories under a pin root. Links lie outside the schema: a new schema
// takes over the links of the old one.
func (g *Gate) schema(parts ...string) string {
	return filepath.Join(append([]string{g.root, Schema}, parts...)...)
}

func (g *Gate) link(name string) string { return filepath.Join(g.root, "links", escape(name)) }

// backstop is the name of the backstop among the interfaces. It has a slash, which
// no interface has.
const backstop = "/backstop"

// escape makes a name a file name of bpffs, which reserves dots. An interface that is
// called backstop must not take the backstop's pins.
func escape(name string) string {
	if rest, found := strings.CutPrefix(name, backstop); found {
		return "backstop" + rest
	}
	if strings.HasPrefix(name, "backstop") {
		name = "%62" + name[1:]
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return strings.NewReplacer("%", "%25", ".", "%2E").Replace(name)
}

func unescape(file string) string {
	if strings.HasPrefix(file, "backstop") {
		return "/" + file
	}
	return strings.NewReplacer("%62", "b", "%2E", ".", "%25", "%").Replace(file)
}

// ForeignPinError says that something is pinned, or lies, where another kind of object
// belongs: it was not put there by a gate.
type ForeignPinError struct {
	Path string
	Err  error
}

func (e *ForeignPinError) Error() string {
	return fmt.Sprintf("what is at %s was not put there by xdpallow: %v", e.Path, e.Err)
}

func (e *ForeignPinError) Unwrap() error { return e.Err }

// Hint is the command that takes it away.
func (e *ForeignPinError) Hint() string { return "rm -r " + e.Path }

// unloaded is err of the loading of what is pinned at path: a *ForeignPinError where it
// tells of what is there, and not that there is nothing or that it cannot be told.
func unloaded(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) || unanswered(err) {
		return err
	}
	return &ForeignPinError{path, err}
}

type pinner interface{ Pin(string) error }

// pin pins object at path, in place of what is pinned there: at no moment is
// there nothing.
func pin(path string, object pinner) error {
	aside := filepath.Join(filepath.Dir(path), "~"+filepath.Base(path))
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear %s: %w", aside, err)
	}
	if err := object.Pin(aside); err != nil {
		return fmt.Errorf("pin %s: %w", path, err)
	}
	if err := os.Rename(aside, path); err != nil {
		return errors.Join(fmt.Errorf("pin %s: %w", path, err), remove(aside)) // a link left there would stay attached
	}
	return nil
}

// tablePins is maps.Pins in a directory.
type tablePins string

func (dir tablePins) Pin(name string, m *ebpf.Map) error {
	// A clone, because Pin makes a map remember one path and move with it.
	clone, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	defer clone.Close()
	return pin(filepath.Join(string(dir), name), clone)
}

func (dir tablePins) Load(name string) (*ebpf.Map, error) {
	path := filepath.Join(string(dir), name)
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return nil, fmt.Errorf("load pinned map %s: %w", path, unloaded(path, err))
	}
	return m, nil
}

func (dir tablePins) Unpin(name string) error { return remove(filepath.Join(string(dir), name)) }

// remove removes a pin that may be gone already.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin %s: %w", path, err)
	}
	return nil
}

// names lists what has a file in dir: interfaces, and the backstop.
func names(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	var names []string
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), "~") {
			names = append(names, unescape(f.Name()))
		}
	}
	return names, nil
}

// Counter maps of other schemas are pinned as earlier/INTERFACE:NUMBER. No interface
// has a colon in its name.
const separator = ":"

// earlierPins are those of one interface.
func earlierPins(dir, name string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	var paths []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), escape(name)+separator) {
			paths = append(paths, filepath.Join(dir, f.Name()))
		}
	}
	return paths, nil
}

// freeEarlier is a path at which nothing is pinned yet.
func (g *Gate) freeEarlier(name string) string {
	for n := 1; ; n++ {
		path := g.schema("earlier", escape(name)+separator+strconv.Itoa(n))
		if _, err := os.Lstat(path); err != nil {
			return path
		}
	}
}
