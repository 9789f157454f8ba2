package control

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"
)

// Promise: a user who has as many connections as he may is turned away with the next one,
// and nobody else is: another user is answered meanwhile.
func TestOthersAreAnsweredAtTheLimit(t *testing.T) {
	socket, _ := start(t, &engine{}, groups(map[string]string{AdminGroup: strconv.Itoa(nobody)}))
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range perUser {
		dial()
	}
	over := dial()
	if err := over.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := over.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("connection %d of one user: %v, want it closed", perUser+1, err)
	}
	if got, _ := askAsNobody(t, socket); got != "yes yes" {
		t.Errorf("meanwhile another user may read and write: %s", got)
	}
}
