// Package pins knows where the objects of a gate are pinned under the pin root, and how one
// takes the place of another without a moment in which nothing is pinned. What is pinned
// outlives every daemon: it is the gate.
package pins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
)

// Schema is the number of the layout of maps and programs under the pin root. A
// change of testdata/schema_v5.txt needs a new number. The old and the new binary
// then each find their own pins, and each can take over from the other.
var Schema = "v5"

// kinds are the directories of a schema that have a pin for each interface.
var kinds = []string{"counters", "programs", "twins", "reasons"}

// Root is the directory under which everything of one gate is pinned. Links lie outside the
// schema: a new schema takes over the links of the old one.
type Root string

// Schema returns a path in the directory of this schema.
func (r Root) Schema(parts ...string) string {
	return filepath.Join(append([]string{string(r), Schema}, parts...)...)
}

// Linked lists what has a pinned link: interfaces, and the backstop.
func (r Root) Linked() ([]string, error) { return names(filepath.Join(string(r), "links")) }

// MakeDirectories makes those that pins go into; the root must be on a BPF file system.
func (r Root) MakeDirectories() error {
	dirs := []string{filepath.Join(string(r), "links"), r.Schema("earlier")}
	for _, kind := range kinds {
		dirs = append(dirs, r.Schema(kind))
	}
	for _, dir := range dirs {
		if err := makeDirectory(dir); err != nil {
			return err
		}
	}
	return nil
}

// Ensure makes sure that the root is a directory of a BPF file system that outlives this
// process, and mounts one where that is so. Returns *PrivateMountError or *HiddenError.
func (r Root) Ensure() error { return ensureBPFFS(string(r)) }

// RemoveAll removes everything that is pinned, and leaves other files alone: the root of a
// BPF file system has some of the kernel's own.
func (r Root) RemoveAll() error {
	files, err := os.ReadDir(string(r))
	if err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	var errs []error
	for _, f := range files {
		if f.Name() == "links" || isSchema(f.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(string(r), f.Name())))
		}
	}
	return errors.Join(errs...)
}

// At returns where the object of a kind is pinned for an interface or the backstop.
func (r Root) At(kind, name string) string { return r.Schema(kind, escape(name)) }

// Link returns where the link of an interface or of the backstop is pinned.
func (r Root) Link(name string) string { return filepath.Join(string(r), "links", escape(name)) }

// Backstop is the name of the backstop among the interfaces. It has a slash, which
// no interface has.
const Backstop = "/backstop"

// escape makes a file name of the name of an interface: bpffs takes no dots, and an interface
// that is called backstop must not take the backstop's pins.
func escape(name string) string {
	if rest, found := strings.CutPrefix(name, Backstop); found {
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

// ForeignPinError says that something is where another kind of object belongs: no gate put it
// there.
type ForeignPinError struct {
	Path string
	Err  error
}

func (e *ForeignPinError) Error() string {
	return fmt.Sprintf("what is at %s was not put there by xdpallow: %v", e.Path, e.Err)
}

func (e *ForeignPinError) Unwrap() error { return e.Err }

// Hint is the command that removes it.
func (e *ForeignPinError) Hint() string { return "rm -r " + e.Path }

// Explain turns err of loading the pin at path into a *ForeignPinError when something else is
// there. When nothing is there, or the question could not be answered, it returns err.
func Explain(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) || unanswered(err) {
		return err
	}
	return &ForeignPinError{path, err}
}

// Object is a program, a map or a link.
type Object interface{ Pin(string) error }

// Put pins object at path in place of what is pinned there. At every moment one of the two is
// pinned. The object can be pinned elsewhere too.
func Put(path string, object Object) error {
	aside := filepath.Join(filepath.Dir(path), "~"+filepath.Base(path))
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear %s: %w", aside, err)
	}
	if err := object.Pin(aside); err != nil {
		return fmt.Errorf("pin %s: %w", path, err)
	}
	if err := os.Rename(aside, path); err != nil {
		return errors.Join(fmt.Errorf("pin %s: %w", path, err), Remove(aside)) // a link left there would stay attached
	}
	return nil
}

// Tables is the directory of the tables' pins. It implements Pins of package maps.
type Tables string

func (dir Tables) Pin(name string, m *ebpf.Map) error {
	// A clone, because a map remembers where it was pinned, and the next Pin would move that.
	clone, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	defer clone.Close()
	return Put(filepath.Join(string(dir), name), clone)
}

func (dir Tables) Load(name string) (*ebpf.Map, error) {
	path := filepath.Join(string(dir), name)
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return nil, fmt.Errorf("load pinned map %s: %w", path, Explain(path, err))
	}
	return m, nil
}

func (dir Tables) Unpin(name string) error { return Remove(filepath.Join(string(dir), name)) }

// Remove removes a pin. That it is gone already is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin %s: %w", path, err)
	}
	return nil
}

// names lists the interfaces, and the backstop, that have a pin in dir. What is set aside for
// a moment has none.
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
