// This file reads what the kernel says about namespaces and interfaces without
// any help from netlab, which is under test.

package netlab_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// childEnv makes the test binary print its namespace instead of testing.
const childEnv = "NETLAB_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		id, err := namespaceID("/proc/self/ns/net")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(id)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// namespaceID tells namespaces apart.
func namespaceID(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino), nil
}

func inode(t *testing.T, path string) string {
	t.Helper()
	id, err := namespaceID(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// interfaces names those of the namespace that the test runs in.
func interfaces(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return strings.Join(names, " ")
}
