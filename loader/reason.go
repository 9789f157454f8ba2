package loader

// This file says why an interface is not native, in the words of its driver. A link tells
// no more than the number of an error, which stands for five causes; the older way to
// attach, over rtnetlink, tells the cause.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/pins"
)

// refusal asks the driver over rtnetlink to run program natively, and returns what it says
// against it; "" is nothing. Should it agree now, the program is taken off again.
func refusal(device netlink.Link, program *ebpf.Program) string {
	const flags = nl.XDP_FLAGS_DRV_MODE | nl.XDP_FLAGS_UPDATE_IF_NOEXIST
	err := setXDP(device, program.FD(), flags)
	if err == nil {
		_ = setXDP(device, -1, nl.XDP_FLAGS_DRV_MODE) // nobody else's: there was none
		return ""
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	_, words, _ := strings.Cut(err.Error(), errno.Error()+": ")
	return strings.TrimSpace(words)
}

// setXDP is what `ip link set dev … xdpdrv` does, and returns the driver's words, too.
func setXDP(device netlink.Link, fd, flags int) error {
	socket, err := nl.GetNetlinkSocketAt(vns.None(), vns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := socket.SetExtAck(true); err != nil {
		return err
	}
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(device.Attrs().Index)
	request.AddData(info)
	xdp := nl.NewRtAttr(unix.IFLA_XDP|unix.NLA_F_NESTED, nil)
	xdp.AddRtAttr(nl.IFLA_XDP_FD, nl.Uint32Attr(uint32(fd)))
	xdp.AddRtAttr(nl.IFLA_XDP_FLAGS, nl.Uint32Attr(uint32(flags)))
	request.AddData(xdp)
	_, err = request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// roomForReason is how much of a reason is kept.
const roomForReason = 512

// keepReason keeps why name is not native for the next daemon, which cannot ask: while a
// program is attached the driver is not even asked. A file system of maps keeps a map.
func (g *Gate) keepReason(name, reason string) error {
	if reason == "" {
		return pins.Remove(g.pins.At("reasons", name))
	}
	kept, err := ebpf.NewMap(&ebpf.MapSpec{Name: "reason", Type: ebpf.Array, KeySize: 4, ValueSize: roomForReason, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("keep why %s is not native: %w", name, err)
	}
	defer kept.Close()
	text := make([]byte, roomForReason)
	copy(text, reason)
	if err := kept.Put(uint32(0), text); err != nil {
		return fmt.Errorf("keep why %s is not native: %w", name, err)
	}
	return pins.Put(g.pins.At("reasons", name), kept)
}

// keptReason is what keepReason kept, "" for nothing.
func (g *Gate) keptReason(name string) string {
	kept, err := ebpf.LoadPinnedMap(g.pins.At("reasons", name), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return ""
	}
	defer kept.Close()
	var text []byte
	if err := kept.Lookup(uint32(0), &text); err != nil {
		return ""
	}
	return unix.ByteSliceToString(text)
}
