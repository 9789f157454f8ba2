package loader

// This file finds out in the driver's own words why an interface is not native.
// To attach a link returns only an error number, which stands for five causes; the older way to
// attach, over rtnetlink, returns the words.

import (
	"errors"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// refusal asks the driver over rtnetlink to run program natively, and returns its words of
// refusal, "" for none. If the driver agrees now, the program is taken off again.
func refusal(device netlink.Link, program *ebpf.Program) string {
	const flags = nl.XDP_FLAGS_DRV_MODE | nl.XDP_FLAGS_UPDATE_IF_NOEXIST
	err := setXDP(device, program.FD(), flags)
	if err == nil {
		_ = setXDP(device, -1, nl.XDP_FLAGS_DRV_MODE) // it is ours: there was none before
		return ""
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	_, words, _ := strings.Cut(err.Error(), errno.Error()+": ")
	return strings.TrimSpace(words)
}

// setXDP does what `ip link set dev … xdpdrv` does. Its error has the driver's words.
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
