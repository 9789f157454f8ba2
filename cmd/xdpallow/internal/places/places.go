// Package places keeps connections from taking all of a process's files, without which it can
// neither look at its gate nor answer anybody: those of one peer, and all of them.
package places

import (
	"net"
	"sync"
)

// Listener is a listener with so many connections at a time.
type Listener[K comparable] struct {
	net.Listener
	peer   func(net.Conn) (K, error)
	each   int
	places chan struct{} // as many as there may be connections; nil: any number

	mu   sync.Mutex
	open map[K]int
}

// New returns l with at most each connections of one peer, and all at once; 0 is any number. A
// connection of a peer who has too many, or whom peer does not know, is closed at once; one for
// which there is no place waits in the kernel's queue.
func New[K comparable](l net.Listener, each, all int, peer func(net.Conn) (K, error)) *Listener[K] {
	b := &Listener[K]{Listener: l, peer: peer, each: each, open: map[K]int{}}
	if all > 0 {
		b.places = make(chan struct{}, all)
	}
	return b
}

// Accept returns the next connection that is not one too many, a *Conn.
func (l *Listener[K]) Accept() (net.Conn, error) {
	if l.places != nil {
		l.places <- struct{}{}
	}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.leave()
			return nil, err
		}
		if who, err := l.peer(conn); err == nil && l.take(who) {
			return &Conn{conn, sync.OnceFunc(func() { l.give(who) })}, nil
		}
		conn.Close()
	}
}

func (l *Listener[K]) take(who K) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[who] >= l.each {
		return false
	}
	l.open[who]++
	return true
}

func (l *Listener[K]) give(who K) {
	defer l.leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[who]--; l.open[who] == 0 {
		delete(l.open, who)
	}
}

// leave gives a place back.
func (l *Listener[K]) leave() {
	if l.places != nil {
		<-l.places
	}
}

// Conn is a connection that counts until it is closed.
type Conn struct {
	net.Conn
	ended func()
}

// Close closes the connection, and makes room for another.
func (c *Conn) Close() error {
	defer c.ended()
	return c.Conn.Close()
}
