// The layout of what programs and daemons of different versions share. A daemon
// that adopts maps of another layout would read one field as another.
package bpf_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
)

var update = flag.Bool("update", false, "write testdata/schema_v5.txt anew")

const schemaFile = "../testdata/schema_v5.txt"

func TestSchema(t *testing.T) {
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		t.Fatal(err)
	}
	got := schema(t, spec)
	if *update {
		if err := os.WriteFile(schemaFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := schemaDiff(string(want), got); diff != "" {
		t.Errorf("a new layout is a new schema number (-pinned +built)\n%s", diff)
	}
}

// schemaDiff takes reasons and scopes that were added, and nothing else.
func schemaDiff(want, got string) string {
	old := strings.Split(want, "\n")
	kept := slices.DeleteFunc(strings.Split(got, "\n"), func(line string) bool {
		word, _, _ := strings.Cut(line, " ")
		return (word == "reason" || word == "scope") && !slices.Contains(old, line)
	})
	return cmp.Diff(old, kept)
}

// The golden file is worth something only if each kind of change shows.
func TestSchemaSeesChanges(t *testing.T) {
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		t.Fatal(err)
	}
	before := schema(t, spec)
	if diff := schemaDiff(before, before+"reason 18 REASON_NEW\n"); diff != "" {
		t.Errorf("an appended reason is a new schema\n%s", diff)
	}
	for what, change := range map[string]func(*ebpf.CollectionSpec){
		"size of a map":  func(s *ebpf.CollectionSpec) { s.Maps[bpf.XdpallowMapCounters].MaxEntries++ },
		"flags of a map": func(s *ebpf.CollectionSpec) { s.Maps[bpf.XdpallowMapAllow6].InnerMap.Flags ^= 1 },
		"type of a map":  func(s *ebpf.CollectionSpec) { s.Maps[bpf.XdpallowMapCurrent].Type = ebpf.Hash },
		"one map more":   func(s *ebpf.CollectionSpec) { s.Maps["more"] = s.Maps[bpf.XdpallowMapCurrent] },
		"two fields swapped": func(s *ebpf.CollectionSpec) {
			var entry *btf.Struct
			if err := s.Types.TypeByName("entry", &entry); err != nil {
				t.Fatal(err)
			}
			entry.Members[5].Name, entry.Members[6].Name = entry.Members[6].Name, entry.Members[5].Name
		},
		"reasons renumbered": func(s *ebpf.CollectionSpec) {
			var reason *btf.Enum
			if err := s.Types.TypeByName("reason", &reason); err != nil {
				t.Fatal(err)
			}
			reason.Values[0].Value, reason.Values[1].Value = 1, 0
		},
	} {
		s := spec.Copy()
		change(s)
		if schemaDiff(before, schema(t, s)) == "" {
			t.Errorf("%s: not seen", what)
		}
	}
}

// schema says everything that two versions have to agree on.
func schema(t *testing.T, spec *ebpf.CollectionSpec) string {
	t.Helper()
	var text strings.Builder
	var names []string
	for name := range spec.Maps {
		if !strings.HasPrefix(name, ".rodata") { // constants of one program
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for m, indent := spec.Maps[name], ""; m != nil; m, indent = m.InnerMap, "  of " {
			fmt.Fprintf(&text, "%smap %s %v key %d value %d entries %d flags %#x\n",
				indent, name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
		}
	}
	for _, name := range []string{
		"current", "prefilter", "policy", "service", "key", "local_key", "entry", "counter", "block", "owner", "openings", "event",
	} {
		var s *btf.Struct
		if err := spec.Types.TypeByName(name, &s); err != nil {
			t.Fatalf("struct %s: %v", name, err)
		}
		fmt.Fprintf(&text, "struct %s size %d\n", name, s.Size)
		for _, member := range s.Members {
			size, err := btf.Sizeof(member.Type)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "  %d size %d %s\n", member.Offset.Bytes(), size, member.Name)
		}
	}
	// Numbers of counters and of modes are made of these.
	for _, name := range []string{"verdict", "family", "scope", "reason", "limit"} {
		var enum *btf.Enum
		if err := spec.Types.TypeByName(name, &enum); err != nil {
			t.Fatalf("enum %s: %v", name, err)
		}
		for _, value := range enum.Values {
			// These follow from the reasons that there are.
			if !slices.Contains([]string{"REASON_COUNT", "REASON_ROOM", "PASS_REASONS"}, value.Name) {
				fmt.Fprintf(&text, "%s %d %s\n", name, value.Value, value.Name)
			}
		}
	}
	return text.String()
}
