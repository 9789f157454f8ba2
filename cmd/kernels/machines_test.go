package main

// This file decides what the test binary is: the tests of machines, or one of the parts
// that they put into a machine.

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getpid() == 1:
		runGuest() // never returns
	case filepath.Base(os.Args[0]) == apiServer:
		serveAPI(os.Args[1:])
	case filepath.Base(os.Args[0]) == ownerAsker:
		askOwner(os.Args[1])
	}
	code := m.Run()
	removeDisks()
	if err := compareTable(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// selection is which machines are tested: all, ci for those of every change, or none.
var selection = os.Getenv("XDPALLOW_MACHINES")

// machines skips a test of machines where nobody asked for it, and those that are not
// for every change where only these are wanted.
func machines(t *testing.T, everyChange bool) {
	t.Helper()
	switch {
	case selection == "":
		t.Skip("boots machines: make test-machines")
	case selection != "all" && !everyChange:
		t.Skip("not of every change: make test-machines-all")
	}
}

// apiServer is the name under which the test binary plays the protected API.
const apiServer = "apiserver"

// serveAPI serves on all ports for ever. It says which one was asked.
func serveAPI(ports []string) {
	failed := make(chan error)
	for _, port := range ports {
		go func() {
			failed <- http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintln(w, "hello from", port)
			}))
		}()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	os.Exit(1)
}

// logs is where a machine's console, journal and frames are kept for who looks for the
// cause of a failure.
func logs(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("../../build/machines", strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
