// Package declared reads what flags, the config file and list files say, and says what of it
// a start or a reload takes over. It takes no lock: a file may take long to answer.
package declared

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Sources are the flags that declare the policy, and the files that they name.
type Sources struct {
	Services []policy.Service // sorted by name; nil leaves them to Config
	Allow    []string         // prefixes
	Files    []string         // list files and directories of them
	Config   string           // config file, read at start and on reload; "" is none
	Backstop string           // "on", "off", "" as it was in the last good policy
	Force    policy.Force
	Log      *slog.Logger

	BackstopTyped bool // Backstop is a flag of this start, and no key of Config
}

// Reading is everything declared, read once.
type Reading struct {
	Services []policy.Service // nil when the config file does not say
	Claims   map[policy.Origin][]policy.Claim
	Failing  Failing
	Settings *config.Settings  // of the config file
	Origins  []source.Settings // that are followed; nil: nobody knows, the config file could not be read or is held

	Probe config.Probe // zero where the config file could not be read

	typed  bool                   // the services are flags
	config string                 // path
	found  map[policy.Origin]bool // files that are there, and read well
	files  []string               // list files and directories that flags and the config file name
}

// Read reads flags and files, until ctx ends. The error is one of the flags; what is wrong with
// files is in Failing.
func (s Sources) Read(ctx context.Context) (Reading, error) {
	read := Reading{
		Services: s.Services, typed: len(s.Services) > 0, config: s.Config,
		Claims: map[policy.Origin][]policy.Claim{}, Failing: Failing{}, Origins: []source.Settings{}, found: map[policy.Origin]bool{},
	}
	for _, text := range s.Allow {
		prefix, warning, err := policy.ParsePrefix(text)
		if err != nil {
			return read, err
		}
		if warning != "" {
			s.Log.Warn("--allow " + warning)
		}
		read.Claims[policy.OriginFlag] = append(read.Claims[policy.OriginFlag], policy.Claim{Prefix: prefix, Origin: policy.OriginFlag})
	}
	read.files = slices.Clone(s.Files)
	if s.Config != "" {
		s.readConfig(ctx, &read)
	}
	for _, one := range source.Files(ctx, read.files) {
		for _, warning := range one.Warnings {
			s.Log.Warn(warning)
		}
		read.found[one.Origin] = one.Err == nil
		if one.Err != nil {
			read.Failing[one.Origin] = one.Err
		} else if len(one.Claims) > 0 {
			read.Claims[one.Origin] = append(read.Claims[one.Origin], one.Claims...)
		}
	}
	return read, nil
}

// readConfig takes the config file over into read, whole or not at all.
func (s Sources) readConfig(ctx context.Context, read *Reading) {
	path := s.Config
	file, err := source.Answer(ctx, path, func() (config.File, error) { return config.Read(path) })
	if _, known := errors.AsType[*policy.InputError](err); err != nil && !known {
		if !strings.Contains(err.Error(), path) {
			err = &policy.InputError{Where: path, What: fmt.Sprintf("cannot be read: %v", err)}
		}
	}
	for _, warning := range file.Warnings {
		s.Log.Warn(warning)
	}
	read.Settings = &file.Settings
	for _, name := range file.Files {
		if !slices.Contains(read.files, name) {
			read.files = append(read.files, name)
		}
	}
	switch flags := len(s.Services) > 0; {
	case err != nil:
	case flags && len(file.Services) > 0:
		err = &policy.InputError{Where: path, What: "services stand here, and --port was given to run", Hint: "xdpallow run --config " + path}
	case !flags && len(file.Services) == 0:
		err = &policy.InputError{Where: path, What: "no service, so nothing would be protected", Hint: "services: {api: {ports: [443]}}"}
	}
	if err != nil {
		read.Failing[policy.OriginConfig], read.Origins = err, nil
		return
	}
	if len(s.Services) == 0 {
		read.Services = file.Services
	}
	if len(file.Claims) > 0 {
		read.Claims[policy.OriginConfig] = file.Claims
	}
	read.Origins = append(read.Origins, file.Origins...)
	read.Probe = file.Probe
}

// Restart warns of what the config file says now and did not when the daemon began: only
// a restart takes that over.
func (s Sources) Restart(read Reading, began config.Settings) (warnings []string) {
	if read.Settings == nil || read.Failing[policy.OriginConfig] != nil {
		return nil
	}
	changed := read.Settings.Changed(began)
	if s.EndsBackstop(read) { // no restart turns it off
		changed = slices.DeleteFunc(changed, func(key string) bool { return key == "backstop" })
	}
	if len(changed) > 0 {
		warnings = append(warnings, fmt.Sprintf("%s: %s changed; to take that over: systemctl restart xdpallow", s.Config, strings.Join(changed, ", ")))
	}
	return warnings
}

// LosesBackstop reports whether the config file turns the backstop off, and nobody typed
// that this is meant.
func (s Sources) LosesBackstop() bool {
	return s.Backstop == "off" && !s.BackstopTyped && !s.Force.AllowOpen
}

// EndsBackstop reports whether read turns a backstop off that is on, and that nobody typed.
func (s Sources) EndsBackstop(read Reading) bool {
	return s.Backstop != "off" && !s.BackstopTyped && read.Settings != nil && read.Settings.Backstop == "off"
}
