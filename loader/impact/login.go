package impact

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// This file finds out who had logged in: behind sudo everybody is uid 0.

// noLogin is the kernel's uid for a process that belongs to no session.
const noLogin = math.MaxUint32

// LoginUID is who logged in to the session that a process belongs to, by the kernel's
// word; nil where nobody did, or where it may not be read.
func LoginUID(pid int) *uint32 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", pid))
	if err != nil {
		return nil
	}
	return login(strings.TrimSpace(string(text)))
}

// OwnLoginUID is LoginUID of this process, else what sudo says of who called it: only
// root may say so, for everybody else can write any name there.
func OwnLoginUID() *uint32 {
	if uid := LoginUID(os.Getpid()); uid != nil || os.Geteuid() != 0 {
		return uid
	}
	return login(os.Getenv("SUDO_UID"))
}

func login(text string) *uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == noLogin {
		return nil
	}
	uid := uint32(n)
	return &uid
}
