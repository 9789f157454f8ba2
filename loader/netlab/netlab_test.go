// These tests hold what every other test builds on: that a lab passes what
// nobody filters, that a dropped SYN looks different from a refused one, that
// counts are exact to the frame, and that nothing is left behind.

package netlab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// closed is a port that nobody listens on.
const closed = 9

// A client of either family, listed or not, connects over every link; without
// a listener it is refused, never left waiting.
func TestConnectedAndRefused(t *testing.T) {
	lab := labtest.New(t)
	labtest.Must(lab.AddLink("eth1"))(t)
	port := labtest.Listen(t, lab.Host, ":0").Port()
	for _, link := range lab.Links() {
		for client, host := range map[netip.Addr]netip.Addr{
			netlab.Listed4: link.Host4, netlab.Unlisted4: link.Host4,
			netlab.Listed6: link.Host6, netlab.Unlisted6: link.Host6,
			{}: link.Host6,
		} {
			labtest.Expect(t, lab.Wire, client, netip.AddrPortFrom(host, port), netlab.Connected)
			labtest.Expect(t, lab.Wire, client, netip.AddrPortFrom(host, closed), netlab.Refused)
		}
	}
}

// A SYN that nobody takes is dropped, reaches no TCP, and is told apart from an
// attempt that could not be made at all.
func TestDroppedAndFailed(t *testing.T) {
	lab := labtest.New(t)
	link := lab.Link("eth0")
	nobody := netip.MustParseAddr("10.80.0.99")
	if err := lab.Wire.AddNeighbour("eth0", nobody, []byte{2, 0, 0, 0x80, 0, 99}); err != nil {
		t.Fatal(err)
	}
	before := labtest.TCPInSegs(t, lab.Host)
	labtest.Expect(t, lab.Wire, netlab.Listed4, netip.AddrPortFrom(nobody, closed), netlab.Dropped)
	if moved := labtest.TCPInSegs(t, lab.Host) - before; moved != 0 {
		t.Errorf("the host's TCP was given %d segments, want 0", moved)
	}
	stranger := netip.MustParseAddr("192.0.2.1") // not a client
	outcome, err := lab.Wire.Knock(netlab.Listed4, netip.AddrPortFrom(stranger, closed), time.Second)
	if outcome != netlab.Failed || !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("knock at an address without a route: %s, %v", outcome, err)
	}
	labtest.Expect(t, lab.Wire, netlab.Listed4, netip.AddrPortFrom(link.Host4, closed), netlab.Refused)
}

// The SYN of a link is, byte for byte, the one that another library makes.
func TestSYNIsASegment(t *testing.T) {
	lab := labtest.New(t)
	link := lab.Link("eth0")
	for _, pair := range [][2]netip.Addr{{netlab.Listed4, link.Host4}, {netlab.Unlisted6, link.Host6}} {
		src, dst := netip.AddrPortFrom(pair[0], 40000), netip.AddrPortFrom(pair[1], 443)
		want := labtest.Must(labtest.Segment{
			SrcMAC: link.WireMAC, DstMAC: link.HostMAC, Src: src, Dst: dst, Flags: labtest.SYN, Seq: 1,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}}},
		}.Frame())(t)
		if got := labtest.Must(link.SYN(src, dst))(t); !bytes.Equal(got, want) {
			t.Errorf("from %s:\n%x, want\n%x", src, got, want)
		}
	}
	src, dst := netip.AddrPortFrom(netlab.Listed4, 1), netip.AddrPortFrom(link.Host6, 2)
	if _, err := link.SYN(src, dst); err == nil {
		t.Error("a SYN of two families was made")
	}
}

// The host's TCP sees each frame that was sent, checksums of both families
// included, and no other.
func TestFramesAreCountedExactly(t *testing.T) {
	lab := labtest.New(t)
	link := lab.Link("eth0")
	for _, pair := range [][2]netip.Addr{{netlab.Listed4, link.Host4}, {netlab.Unlisted6, link.Host6}} {
		const count = 300
		var frames [][]byte
		for i := range uint16(count) {
			frame := labtest.Must(link.SYN(netip.AddrPortFrom(pair[0], 2000+i), netip.AddrPortFrom(pair[1], closed)))(t)
			frames = append(frames, frame)
		}
		segments := labtest.TCPInSegs(t, lab.Host)
		resets := labtest.Must(lab.Host.Counter("Tcp:OutRsts"))(t)
		if err := link.Send(frames...); err != nil {
			t.Fatal(err)
		}
		if got := labtest.TCPInSegs(t, lab.Host) - segments; got != count {
			t.Errorf("from %s: TCP was given %d segments, want %d", pair[0], got, count)
		}
		// A frame with a bad checksum is counted and gets no answer.
		if got := labtest.Must(lab.Host.Counter("Tcp:OutRsts"))(t) - resets; got != count {
			t.Errorf("from %s: %d resets, want %d", pair[0], got, count)
		}
	}
}

// A flood's count is exact, and all its frames are good: TCP refuses each.
func TestFloodIsCountedExactly(t *testing.T) {
	lab := labtest.New(t)
	link := lab.Link("eth0")
	for sources, target := range map[string]netip.Addr{"198.18.0.0/15": link.Host4, "2001:db8:f00d::/48": link.Host6} {
		segments := labtest.TCPInSegs(t, lab.Host)
		bad := labtest.Must(lab.Host.Counter("Tcp:InCsumErrors"))(t)
		const count = 5001 // not a multiple of a batch
		flooded, err := link.Flood(t.Context(), netlab.Flood{
			Sources: netip.MustParsePrefix(sources), Target: netip.AddrPortFrom(target, closed), Count: count,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("from %s: %+v", sources, flooded)
		if flooded.Sent != count {
			t.Errorf("from %s: sent %d frames, want %d", sources, flooded.Sent, count)
		}
		if got := labtest.TCPInSegs(t, lab.Host) - segments; got != flooded.Arrived() {
			t.Errorf("from %s: TCP was given %d segments, want %d", sources, got, flooded.Arrived())
		}
		if got := labtest.Must(lab.Host.Counter("Tcp:InCsumErrors"))(t) - bad; got != 0 {
			t.Errorf("from %s: %d bad checksums", sources, got)
		}
	}
}

// A flood without a count ends with its context and keeps to its rate.
func TestFloodUntilStopped(t *testing.T) {
	lab := labtest.New(t)
	link := lab.Link("eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	flooded, err := link.Flood(ctx, netlab.Flood{
		Sources: netip.MustParsePrefix("198.18.0.0/15"), Target: netip.AddrPortFrom(link.Host4, closed), Rate: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	most := uint64(flooded.Elapsed.Seconds()*10_000) + 64 // a batch
	if flooded.Sent == 0 || flooded.Sent > most {
		t.Errorf("sent %d frames in %s, want 1 to %d", flooded.Sent, flooded.Elapsed, most)
	}
}

// A host that is down takes nothing: the flood ends with its context and claims
// nothing, and Send does not pretend.
func TestFloodAgainstAClosedDoor(t *testing.T) {
	lab := labtest.New(t)
	link := lab.Link("eth0")
	if err := lab.Host.SetUp("eth0", false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	flooded, err := link.Flood(ctx, netlab.Flood{
		Sources: netip.MustParsePrefix("198.18.0.0/15"), Target: netip.AddrPortFrom(link.Host4, closed), Count: 1000,
	})
	t.Logf("%+v, %v", flooded, err)
	if err == nil && flooded.Arrived() != 0 {
		t.Errorf("%d frames arrived at an interface that is down", flooded.Arrived())
	}
	if err := lab.Wire.SetUp("eth0", false); err != nil {
		t.Fatal(err)
	}
	frame := labtest.Must(link.SYN(netip.AddrPortFrom(netlab.Listed4, 2000), netip.AddrPortFrom(link.Host4, closed)))(t)
	if err := link.Send(frame); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("send out of an interface that is down: %v", err)
	}
}

// Links come, go and come back with their addresses; while one is away, the
// host answers its clients over another.
func TestLinksComeAndGo(t *testing.T) {
	lab := labtest.New(t)
	second := labtest.Must(lab.AddLink("eth1"))(t)
	port := labtest.Listen(t, lab.Host, ":0").Port()
	index := labtest.Must(lab.Host.Index("eth0"))(t)
	if err := errors.Join(lab.DeleteLink("eth0"), lab.DeleteLink("eth0")); err != nil {
		t.Fatal(err)
	}
	labtest.Expect(t, lab.Wire, netlab.Listed4, netip.AddrPortFrom(second.Host4, port), netlab.Connected)
	first := labtest.Must(lab.AddLink("eth0"))(t)
	labtest.Expect(t, lab.Wire, netlab.Listed6, netip.AddrPortFrom(first.Host6, port), netlab.Connected)
	if again := labtest.Must(lab.Host.Index("eth0"))(t); again == index {
		t.Errorf("the new eth0 has the old index %d", index)
	}
	if err := errors.Join(labtest.SetMTU(lab.Host, "eth0", 9000), labtest.SetMTU(lab.Wire, "eth0", 9000)); err != nil {
		t.Fatal(err)
	}
	extra := netip.MustParseAddr("192.0.2.44")
	if err := errors.Join(
		lab.Host.AddAddr("eth0", netip.PrefixFrom(extra, 32)),
		lab.Wire.AddRoute(netip.PrefixFrom(extra, 32), first.Host4, "eth0", 0),
	); err != nil {
		t.Fatal(err)
	}
	labtest.Expect(t, lab.Wire, netlab.Unlisted4, netip.AddrPortFrom(extra, port), netlab.Connected)
	if _, err := lab.AddLink("eth0"); err == nil {
		t.Error("a link was added twice")
	}
}

// The HTTP pair and started processes work inside the namespace.
func TestHTTPAndProcesses(t *testing.T) {
	lab := labtest.New(t)
	addr := labtest.ServeHTTP(t, lab.Host, ":0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr)
	}))
	url := fmt.Sprintf("http://%s/", netip.AddrPortFrom(lab.Link("eth0").Host6, addr.Port()))
	response, err := lab.Wire.HTTPClient(netlab.Listed6, 10*time.Second).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body := string(labtest.Must(io.ReadAll(response.Body))(t)); !strings.HasPrefix(body, "["+netlab.Listed6.String()+"]:") {
		t.Errorf("the server saw %q, want %s", body, netlab.Listed6)
	}

	// The test binary itself says which namespace it was started in: a guest
	// kernel has no other program.
	var out strings.Builder
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childEnv+"=1")
	child.Stdout = &out
	if err := lab.Wire.Start(child); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := inode(t, lab.Wire.Path()); out.String() != want {
		t.Errorf("the child was in namespace %s, want %s", out.String(), want)
	}
}

// Close takes everything away, twice if asked, also while the test panics
// inside the namespace; the calling process stays where it was.
func TestCloseLeavesNothing(t *testing.T) {
	home, links := inode(t, "/proc/self/ns/net"), interfaces(t)
	lab := labtest.Must(netlab.New("leave"))(t)
	names := []string{lab.Host.Path(), lab.Wire.Path()}
	server := labtest.Must(lab.Host.ServeHTTP(":0", http.NotFoundHandler()))(t)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
			if err := errors.Join(lab.Close(), lab.Close()); err != nil {
				t.Error(err)
			}
		}()
		_ = lab.Wire.Do(func() error { panic("half way") })
	}()
	for _, name := range names {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(fmt.Sprintf("/run/netns/*-%d-*", os.Getpid())); len(left) != 0 {
		t.Errorf("namespaces left behind: %v", left)
	}
	mounts := string(labtest.Must(os.ReadFile("/proc/self/mounts"))(t))
	if strings.Contains(mounts, filepath.Base(names[0])) {
		t.Error("the namespace is still mounted")
	}
	if now := inode(t, "/proc/self/ns/net"); now != home {
		t.Errorf("the process moved from namespace %s to %s", home, now)
	}
	if now := interfaces(t); now != links {
		t.Errorf("interfaces of the process's own namespace:\n%s\nwere\n%s", now, links)
	}
	if err := lab.Host.Do(func() error { return nil }); err == nil {
		t.Error("a closed namespace can be entered")
	}
	if err := lab.Host.SetUp("lo", false); err == nil {
		t.Error("a closed lab configured an interface")
	}
}
