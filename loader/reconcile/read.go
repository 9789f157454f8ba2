// This file reads what is declared: flags, the config file, list files. It changes
// nothing, and takes no lock: a file may take long to answer.

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// reading is everything declared, read once.
type reading struct {
	services []policy.Service // nil when the config file does not say
	declared map[policy.Origin][]policy.Claim
	failing  map[policy.Origin]error
	found    map[policy.Origin]bool // files that are there, and read well
	files    []string               // list files and directories that flags and the config file name
	restart  []string               // warnings: what the config file says and a restart would take over
	settings *config.Settings
}

// read reads flags and files, until ctx ends. The error is one of the flags.
func (e *Engine) read(ctx context.Context) (reading, error) {
	read := reading{
		services: e.options.Services,
		declared: map[policy.Origin][]policy.Claim{}, failing: map[policy.Origin]error{}, found: map[policy.Origin]bool{},
	}
	for _, text := range e.options.Allow {
		prefix, warning, err := policy.ParsePrefix(text)
		if err != nil {
			return read, err
		}
		if warning != "" {
			e.options.Log.Warn("--allow " + warning)
		}
		read.declared[policy.OriginFlag] = append(read.declared[policy.OriginFlag], policy.Claim{Prefix: prefix, Origin: policy.OriginFlag})
	}
	read.files = slices.Clone(e.options.Files)
	if e.options.Config != "" {
		e.readConfig(ctx, &read)
	}
	for _, one := range source.Files(ctx, read.files) {
		for _, warning := range one.Warnings {
			e.options.Log.Warn(warning)
		}
		read.found[one.Origin] = one.Err == nil
		if one.Err != nil {
			read.failing[one.Origin] = one.Err
		} else if len(one.Claims) > 0 {
			read.declared[one.Origin] = append(read.declared[one.Origin], one.Claims...)
		}
	}
	return read, nil
}

// readConfig takes the config file over into read, whole or not at all.
func (e *Engine) readConfig(ctx context.Context, read *reading) {
	path := e.options.Config
	file, err := source.Answer(ctx, path, func() (config.File, error) { return config.Read(path) })
	if _, known := errors.AsType[*policy.InputError](err); err != nil && !known {
		if !strings.Contains(err.Error(), path) {
			err = &policy.InputError{Where: path, What: fmt.Sprintf("cannot be read: %v", err)}
		}
	}
	for _, warning := range file.Warnings {
		e.options.Log.Warn(warning)
	}
	read.settings = &file.Settings
	for _, name := range file.Files {
		if !slices.Contains(read.files, name) {
			read.files = append(read.files, name)
		}
	}
	switch flags := len(e.options.Services) > 0; {
	case err != nil:
	case flags && len(file.Services) > 0:
		err = &policy.InputError{Where: path, What: "services stand here, and --port was given to run", Hint: "xdpallow run --config " + path}
	case !flags && len(file.Services) == 0:
		err = &policy.InputError{Where: path, What: "no service, so nothing would be protected", Hint: "services: {api: {ports: [443]}}"}
	}
	if err != nil {
		read.failing[policy.OriginConfig] = err
		return
	}
	if len(e.options.Services) == 0 {
		read.services = file.Services
	}
	if len(file.Claims) > 0 {
		read.declared[policy.OriginConfig] = file.Claims
	}
}

// took notes what was read, and warns of what a restart would take over. The caller holds
// the mutex.
func (e *Engine) took(read *reading) {
	if read.settings == nil {
		return
	}
	if e.files.settings == nil {
		e.files.settings = read.settings
	}
	if read.failing[policy.OriginConfig] != nil {
		return
	}
	changed := read.settings.Changed(*e.files.settings)
	if e.wantsNoBackstop(*read) { // no restart turns it off
		changed = slices.DeleteFunc(changed, func(key string) bool { return key == "backstop" })
	}
	if len(changed) > 0 {
		read.restart = append(read.restart, fmt.Sprintf("%s: %s changed; to take that over: systemctl restart xdpallow", e.options.Config, strings.Join(changed, ", ")))
	}
}
