// This file reads lists as the daemon of the unit does, who is root and has no right to
// read what is another's.

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const readEnv = "XDPALLOW_SOURCE_TEST_READ"

func TestMain(m *testing.M) {
	if path := os.Getenv(readEnv); path != "" {
		for _, r := range Files(context.Background(), []string{path}) {
			input, _ := errors.AsType[*policy.InputError](r.Err)
			fmt.Printf("%d entries, error %v", len(r.Claims), r.Err)
			if input != nil {
				fmt.Printf(", hint %s", input.Hint)
			}
		}
		return
	}
	os.Exit(m.Run())
}

// Promise: a list of mode 0640 that is another user's cannot be read by root without the
// right to; the error names the list, and the hint is the command that mends it.
func TestListOfAnother(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "a.list")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(list, []byte("192.0.2.0/24\n"), 0o640), os.Chmod(list, 0o640), os.Chown(list, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if got := readWithoutRights(t, list); !strings.HasPrefix(got, "0 entries, error "+list+": cannot be read: permission denied") || !strings.HasSuffix(got, "hint chown root "+list) {
		t.Errorf("a list of another: %s", got)
	}
	if err := exec.Command("chown", "root", list).Run(); err != nil { // the hint
		t.Fatal(err)
	}
	if got := readWithoutRights(t, list); got != "1 entries, error <nil>" {
		t.Errorf("after the hint: %s", got)
	}
}

// readWithoutRights is what another process reads that has lost the rights over files.
func readWithoutRights(t *testing.T, path string) string {
	t.Helper()
	var out []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: what this thread has lost it does not get back
		for _, capability := range []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH} {
			err = errors.Join(err, unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0))
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), readEnv+"="+path)
		var ran error
		out, ran = cmd.CombinedOutput()
		err = errors.Join(err, ran)
	}()
	<-done
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
