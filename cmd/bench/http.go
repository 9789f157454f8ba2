// This file is the two processes of part (c), each on a CPU of its own: an HTTP server,
// and clients that open a connection for each request.
package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// request is one that the client made.
type request struct {
	Begin, End time.Time
	Failed     bool
}

func serve(addr string) error {
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }))
}

// ask sends requests until its input ends, from each source one at a time, and then
// prints all of them.
func ask(server string, sources []string) error {
	var over atomic.Bool
	var wait sync.WaitGroup
	made := make([][]request, len(sources))
	for i, source := range sources {
		wait.Go(func() {
			for !over.Load() {
				begin := time.Now()
				err := get(server, source)
				made[i] = append(made[i], request{begin, time.Now(), err != nil})
			}
		})
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	over.Store(true)
	wait.Wait()
	return json.NewEncoder(os.Stdout).Encode(slices.Concat(made...))
}

// get is one request over a connection of its own, which ends with a reset so that its
// port is free at once.
func get(server, source string) error {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("tcp4", server)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return err
	}
	var answer [512]byte
	_, err = conn.Read(answer[:])
	return err
}
