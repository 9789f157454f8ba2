// The parsing headers, natively under ASan and UBSan: the verifier proves that the
// program reads no byte outside its packet, not that it reads the right ones. The
// promise is 0 leaks: what was read is what the oracle reads, from every cut packet.
package bpf_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/bpf/bpftest/oracle"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// nativeFrame is a frame and how much of it is in its linear part.
type nativeFrame struct {
	bytes  []byte
	linear int
}

// buildHarness compiles bpftest/native/harness.c with the headers of directory.
func buildHarness(t *testing.T, directory string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "harness")
	native := filepath.Join(directory, "bpftest", "native")
	compile := exec.Command("clang-14", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra",
		"-Wno-unused-parameter", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize=alignment", "-fno-sanitize-recover=all",
		"-include", filepath.Join(native, "shim.h"), "-I/usr/include/"+machine(t)+"-linux-gnu",
		"-o", binary, filepath.Join(native, "harness.c"))
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compile the harness (make tools installs what it needs): %v\n%s", err, out)
	}
	return binary
}

func machine(t *testing.T) string {
	t.Helper()
	name, known := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if !known {
		t.Fatalf("no name for %s", runtime.GOARCH)
	}
	return name
}

// runHarness returns a line for each frame that was parsed, and what a sanitizer said.
func runHarness(binary string, frames []nativeFrame) ([]string, error) {
	var in, report bytes.Buffer
	for _, f := range frames {
		linear := hex.EncodeToString(f.bytes[:f.linear])
		if linear == "" {
			linear = "-"
		}
		fmt.Fprintf(&in, "%d %s\n", len(f.bytes), linear)
	}
	run := exec.Command(binary)
	run.Stdin, run.Stderr = &in, &report
	out, err := run.Output()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, report.Bytes())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), err
}

// nativeFrames are the public cases cut at every length, as frames that end there and
// as frames that go on behind the linear part, and generated ones.
func nativeFrames(t *testing.T) []nativeFrame {
	t.Helper()
	var frames []nativeFrame
	for _, c := range readCases(t) {
		for _, text := range c.Frames {
			frame, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			for cut := range len(frame) + 1 {
				frames = append(frames, nativeFrame{frame[:cut], cut}, nativeFrame{frame, cut})
			}
		}
	}
	g := oracle.NewGenerator(testSeed(t), oracle.Sample(oracle.Strict))
	for n := range 20_000 {
		frame := g.Generate()
		if n%2 == 0 {
			frame = g.Mutate(frame)
		}
		frames = append(frames, nativeFrame{frame, len(frame)})
	}
	return frames
}

// nativeAnswer is what the harness says of a frame, in the order of its line.
type nativeAnswer struct {
	Finding, Family, Protocol, SourcePort, Port, Flags, Routed, Strict int
	Addresses                                                          string
}

func parseAnswer(t *testing.T, line string) nativeAnswer {
	t.Helper()
	var a nativeAnswer
	numbers, addresses, _ := strings.Cut(line, " source:")
	a.Addresses = addresses
	if _, err := fmt.Sscan(numbers, &a.Finding, &a.Family, &a.Protocol, &a.SourcePort, &a.Port,
		&a.Flags, &a.Routed, &a.Strict); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return a
}

// wanted is the same, by the oracle.
func wanted(frame []byte) nativeAnswer {
	p := oracle.Read(frame)
	a := nativeAnswer{
		Finding: number(p.Finding), Family: int(familyOf(frame)), Protocol: p.Protocol,
		SourcePort: int(p.SourcePort), Port: int(p.Port), Flags: -1,
	}
	if p.HasFlags {
		a.Flags = int(p.Flags)
	}
	if p.SourceRoute {
		a.Routed = 1
	}
	a.Strict = a.Finding
	if p.Finding == oracle.NotIP || p.Finding == oracle.OtherProtocol {
		a.Strict = number(oracle.Decide(frame, oracle.Policy{Services: []oracle.Service{{Scope: oracle.Strict}}}).Reason)
	}
	if p.Source.IsValid() {
		a.Addresses = hex.EncodeToString(p.Source.AsSlice())
	}
	if p.Finding == "" {
		tuple := append(p.Source.AsSlice(), p.Destination.AsSlice()...)
		tuple = binary.BigEndian.AppendUint16(tuple, p.SourcePort)
		a.Addresses += " tuple:" + hex.EncodeToString(binary.BigEndian.AppendUint16(tuple, p.Port))
	}
	return a
}

// number is a reason of the oracle's as the C has it; none is UNDECIDED.
func number(r oracle.Reason) int {
	for _, reason := range maps.Reasons() {
		if reason.String() == string(r) {
			return int(reason)
		}
	}
	return int(bpf.XdpallowReasonREASON_ROOM)
}

func TestHeadersNatively(t *testing.T) {
	frames := nativeFrames(t)
	lines, err := runHarness(buildHarness(t, "."), frames)
	if err != nil {
		t.Fatalf("behind frame %d of %d: %v", len(lines), len(frames), err)
	}
	if len(lines) != len(frames) {
		t.Fatalf("%d answers to %d frames", len(lines), len(frames))
	}
	for i, f := range frames {
		got, want := parseAnswer(t, lines[i]), wanted(f.bytes)
		if f.linear < len(f.bytes) {
			// A header behind the linear part is malformed, and all else is as it was.
			if got.Finding != want.Finding && got.Finding != int(maps.Malformed) {
				t.Fatalf("%d of %d bytes: finding %d, of the whole %d\n%x", f.linear, len(f.bytes), got.Finding, want.Finding, f.bytes)
			}
			continue
		}
		switch maps.Reason(got.Finding) {
		case maps.NotIP, maps.Malformed, maps.TooDeep: // the walk ended before the protocol
			got.Protocol, want.Protocol = 0, 0
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("the oracle and the headers (-want +got)\n%s%x", diff, f.bytes)
		}
	}
}

// Promise: 0 leaks. What passes is the reasons that Go and README know to pass, and never a
// number that is no reason.
func TestPassReasonsNatively(t *testing.T) {
	out, err := exec.Command(buildHarness(t, "."), "verdicts").Output()
	if err != nil {
		t.Fatal(err)
	}
	verdicts := strings.Fields(string(out))
	if len(verdicts) != 2*int(bpf.XdpallowReasonREASON_ROOM) {
		t.Fatalf("%d verdicts of %d numbers", len(verdicts), 2*bpf.XdpallowReasonREASON_ROOM)
	}
	passing := []maps.Reason{maps.NotIP, maps.OtherProtocol, maps.OtherPort, maps.NotOpening, maps.Listed}
	for number, text := range verdicts {
		want := maps.Drop
		if slices.Contains(passing, maps.Reason(number)) {
			want = maps.Pass
		}
		if text != fmt.Sprint(int(want)) {
			t.Errorf("the verdict of reason %d is %s, want %d (%v)", number, text, want, want)
		}
		if got := maps.Reason(number).Passes(); got != (want == maps.Pass) {
			t.Errorf("Go says %t of whether reason %d passes", got, number)
		}
	}
}

// Without its bound the same harness must complain, or its silence says nothing.
func TestSanitizerIsAwake(t *testing.T) {
	const bound = "header + size > data_end || "
	directory := t.TempDir()
	if err := os.CopyFS(directory, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(directory, "cursor.h")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(text, []byte(bound)) != 1 {
		t.Fatalf("cursor.h has no %q to take out", bound)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(bound), nil), 0o644); err != nil {
		t.Fatal(err)
	}
	frame := mapstest.Opening(unlisted[0], guarded).Bytes()
	harness := buildHarness(t, directory)
	for _, cut := range []int{0, 13, 14, 33, 34, 37, 47} { // in the headers of Ethernet, IPv4, TCP
		_, err := runHarness(harness, []nativeFrame{{frame, cut}})
		if err == nil || !strings.Contains(err.Error(), "heap-buffer-overflow") {
			t.Errorf("%d bytes of %d, read without a bound: %v", cut, len(frame), err)
		}
	}
}
