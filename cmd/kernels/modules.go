// This file collects kernel modules with all that they depend on: the guest has
// no modprobe, and the kernel's own requests for modules come to nothing there.

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// module is one to load, as an uncompressed ELF file.
type module struct {
	name string
	data []byte
}

// closure collects modules in the order in which they load.
type closure struct {
	dir    string
	paths  map[string]string // of modules that are files
	inside map[string]bool   // built in, or collected already
	order  []module
}

// collect returns the named modules and their dependencies, dependencies first.
// What is built into the kernel is left out; what the kernel does not have at
// all is an error.
func collect(ctx context.Context, k *kernel, names []string) ([]module, error) {
	c := &closure{dir: k.modules, paths: make(map[string]string), inside: make(map[string]bool)}
	for list, found := range map[string]func(name, path string){
		"modules.order":   func(name, path string) { c.paths[name] = path },
		"modules.builtin": func(name, _ string) { c.inside[name] = true },
	} {
		content, err := os.ReadFile(filepath.Join(c.dir, list))
		if err != nil {
			return nil, fmt.Errorf("list modules: %w", err)
		}
		for _, path := range strings.Fields(string(content)) {
			found(canonical(strings.TrimSuffix(filepath.Base(path), ".ko")), path)
		}
	}
	for _, name := range names {
		if err := c.add(ctx, canonical(name)); err != nil {
			return nil, err
		}
	}
	return c.order, nil
}

// canonical: files say nf-conntrack or nf_conntrack, the kernel says nf_conntrack.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

func (c *closure) add(ctx context.Context, name string) error {
	if c.inside[name] {
		return nil
	}
	c.inside[name] = true
	path, ok := c.paths[name]
	if !ok {
		return fmt.Errorf("module %s: this kernel has none", name)
	}
	data, err := os.ReadFile(filepath.Join(c.dir, path))
	if errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(c.dir, path+".xz"))
		if err == nil {
			data, err = filter(ctx, data, "xz", "-dc")
		}
	}
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	needed, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	for _, other := range needed {
		if err := c.add(ctx, canonical(other)); err != nil {
			return fmt.Errorf("module %s needs %w", name, err)
		}
	}
	c.order = append(c.order, module{name: name, data: data})
	return nil
}

// dependencies reads "depends=a,b" from the module's .modinfo.
func dependencies(data []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, field := range bytes.Split(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok {
			return strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' }), nil
		}
	}
	return nil, nil
}
