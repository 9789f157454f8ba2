// This file runs the test binary a second time as the process that holds the
// state: locks and SIGKILL cannot be shown within one process.

package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// What the child does, and to which state directory.
const (
	childEnv   = "XDPALLOW_STORE_TEST_CHILD"
	confirmEnv = "XDPALLOW_STORE_TEST_CONFIRM"
	followEnv  = "XDPALLOW_STORE_TEST_FOLLOW"
)

// metaTest is a key of Store.Meta that no daemon uses.
const metaTest = "test"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		runChild(dir, applyNumbered)
		return
	}
	if dir := os.Getenv(confirmEnv); dir != "" {
		runChild(dir, applyConfirmed)
		return
	}
	if dir := os.Getenv(followEnv); dir != "" {
		runChild(dir, applyFollowed)
		return
	}
	os.Exit(m.Run())
}

// runChild opens dir, says "open", and applies one numbered change for each
// line that it reads, which it acknowledges with the generation.
func runChild(dir string, apply func(s *Store, generation uint64) error) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("open")
	generation, err := s.Generation()
	for in := bufio.NewScanner(os.Stdin); err == nil && in.Scan(); {
		generation++
		if err = apply(s, generation); err == nil {
			fmt.Println(generation)
		}
	}
	if err != nil {
		fmt.Println("error", err)
	}
}

func applyNumbered(s *Store, generation uint64) error {
	change := numbered(generation)
	if err := s.Apply(change); err != nil {
		return err
	}
	return s.SaveEffective(Effective{Generation: generation, Claims: pointers(change.Put)})
}

// numbered is the change that leads to generation n: it adds two prefixes and
// takes one of change n-1 away, so that half of it would be seen.
func numbered(n uint64) Change {
	claim := func(kind byte) policy.Claim {
		addr := binary.BigEndian.AppendUint32(nil, uint32(n))
		return policy.Claim{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{kind, addr[1], addr[2], addr[3]}), 32),
			Note:   strconv.FormatUint(n, 10), Origin: policy.OriginCLI,
		}
	}
	change := Change{
		Put: []policy.Claim{claim(10), claim(11)}, Generation: n,
		Log:  &Record{Time: time.Unix(int64(n), 0).UTC(), Command: strconv.FormatUint(n, 10), Added: []string{"10.0.0.0/8"}},
		Meta: map[string][]byte{metaTest: []byte(strconv.FormatUint(n, 10))},
	}
	if n > 1 {
		change.Delete = []netip.Prefix{numbered1(n - 1)}
	}
	return change
}

// numbered1 is the prefix of change n that change n+1 takes away.
func numbered1(n uint64) netip.Prefix {
	addr := binary.BigEndian.AppendUint32(nil, uint32(n))
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{11, addr[1], addr[2], addr[3]}), 32)
}

// child is a process that has the state open.
type child struct {
	cmd   *exec.Cmd
	stdin *os.File
	out   *bufio.Scanner
}

func startChild(tb testing.TB, dir string) *child {
	tb.Helper()
	return startChildAs(tb, childEnv, dir)
}

func startChildAs(tb testing.TB, env, dir string) *child {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env+"="+dir)
	cmd.Stderr = os.Stderr
	read, write, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdin = read
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	_ = read.Close()
	c := &child{cmd: cmd, stdin: write, out: bufio.NewScanner(out)}
	tb.Cleanup(c.kill)
	if line := c.line(); line != "open" {
		tb.Fatalf("child: %q", line)
	}
	return c
}

func (c *child) line() string {
	c.out.Scan()
	return c.out.Text()
}

// apply asks for one change and waits for its acknowledgement.
func (c *child) apply(tb testing.TB) uint64 {
	tb.Helper()
	if _, err := c.stdin.WriteString("\n"); err != nil {
		tb.Fatal(err)
	}
	n, err := strconv.ParseUint(c.line(), 10, 64)
	if err != nil {
		tb.Fatalf("child: %q", c.out.Text())
	}
	return n
}

// acknowledged reads what was acknowledged until the process is gone.
func (c *child) acknowledged(tb testing.TB) (last uint64) {
	tb.Helper()
	for c.out.Scan() {
		if strings.HasPrefix(c.out.Text(), "error") {
			tb.Fatalf("child: %s", c.out.Text())
		}
		if n, err := strconv.ParseUint(c.out.Text(), 10, 64); err == nil {
			last = n
		}
	}
	return last
}

// kill ends the process with SIGKILL; it may be gone already.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = c.stdin.Close()
}
