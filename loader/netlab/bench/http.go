// This file is the two processes of part (c), each on a CPU of its own: an HTTP server,
// and clients that open a connection for each request.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// answers is what the client prints.
type answers struct {
	Rate     float64 // requests answered a second
	Failures int     // a SYN that is lost takes a second, and counts as one
	P99      float64 // ms, of those answered
}

func serve(addr string) error {
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }))
}

// ask sends requests for a while, from each source one at a time.
func ask(server string, sources []string) error {
	var mu sync.Mutex
	var all []time.Duration
	var a answers
	var wait sync.WaitGroup
	end := time.Now().Add(clientTime)
	for _, source := range sources {
		wait.Go(func() {
			for time.Now().Before(end) {
				start := time.Now()
				err := get(server, source)
				mu.Lock()
				if err != nil {
					a.Failures++
				} else {
					all = append(all, time.Since(start))
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(all) == 0 {
		return fmt.Errorf("not one of %d requests was answered", a.Failures)
	}
	slices.Sort(all)
	a.Rate = float64(len(all)) / clientTime.Seconds()
	a.P99 = all[len(all)*99/100].Seconds() * 1000
	return json.NewEncoder(os.Stdout).Encode(a)
}

// get is one request over a connection of its own, which ends with a reset so that its
// port is free at once.
func get(server, source string) error {
	dialer := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("tcp4", server)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
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
