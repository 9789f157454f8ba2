// Package config reads the config file of a daemon: what it protects, and who may connect. It
// is strict: whoever mistypes a key must not believe that it is in force. An unknown or
// repeated key and a value of the wrong type are errors with their line, and one error refuses
// the whole file.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// maxSize bounds a config file, in bytes. Longer lists belong in list files, which are read as
// a stream.
const maxSize = 16 << 20

// File is what a config file says. A key that is not in it is zero here.
type File struct {
	Settings
	Services []policy.Service  // as policy.NewServices returns them
	Claims   []policy.Claim    // allow, in the order of the file
	Files    []string          // allow_files, absolute
	Origins  []source.Settings // in the order of the file
	Probe    Probe
	Warnings []string
}

// Settings are the keys that a reload does not change: a daemon reads them when it starts.
type Settings struct {
	Interfaces []string // sorted, each once
	Attach     string   // "auto", "native", "generic"
	Backstop   string   // "on", "off"
	State      string   // absolute, as are the next two
	Socket     string
	Bpffs      string
	Metrics    string // host:port
	WebConfig  string // of Metrics: TLS and passwords, a file as exporters have it; absolute
	Owner      Owner
	Enrol      enrol.Settings // nil: nobody may
	LogFormat  string         // "text", "json"

	KeepEnded time.Duration // of entries of the command line
}

// Read reads the config file at path. Relative paths in it are relative to its directory. The
// error joins a *policy.InputError for each of the first twenty mistakes. With an error, the
// File holds what could be read: a mistake in an entry must not hide where the state is.
func Read(path string) (File, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxSize {
		return File{}, &policy.InputError{Where: path, What: fmt.Sprintf("is larger than %d MiB: name list files in allow_files", maxSize>>20)}
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		if inner, ok := errors.AsType[*os.PathError](err); ok {
			err = inner.Err
		}
		return File{}, &policy.InputError{Where: path, What: fmt.Sprintf("cannot be read: %v", err), Hint: "xdpallow assets config"}
	}
	return parse(path, text, true)
}

// Changed returns the keys in which s differs from before.
func (s Settings) Changed(before Settings) []string {
	var keys []string
	for _, setting := range []struct {
		key  string
		same bool
	}{
		{"interfaces", slices.Equal(s.Interfaces, before.Interfaces)},
		{"attach", s.Attach == before.Attach},
		{"backstop", s.Backstop == before.Backstop},
		{"state", s.State == before.State},
		{"socket", s.Socket == before.Socket},
		{"bpffs", s.Bpffs == before.Bpffs},
		{"metrics", s.Metrics == before.Metrics},
		{"web_config_file", s.WebConfig == before.WebConfig},
		{"owner", s.Owner == before.Owner},
		{"enrol", reflect.DeepEqual(s.Enrol, before.Enrol)},
		{"log_format", s.LogFormat == before.LogFormat},
		{"keep_ended", s.KeepEnded == before.KeepEnded},
	} {
		if !setting.same {
			keys = append(keys, setting.key)
		}
	}
	return keys
}
