// Package ethtool reads and changes what only the driver of an interface knows, in the network
// namespace of the calling thread. It is written here because the library for it hands the
// kernel addresses on a stack that Go may move meanwhile, and x/sys/unix has only the numbers.
package ethtool

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Channels are the queues of an interface: struct ethtool_channels of linux/ethtool.h.
type Channels struct {
	command                                uint32
	MaxRx, MaxTx, MaxOther, MaxCombined    uint32
	RxCount, TxCount, OtherCount, Combined uint32
}

// GetChannels returns the queues that are in use, and how many there can be.
func GetChannels(name string) (Channels, error) {
	c := Channels{command: unix.ETHTOOL_GCHANNELS}
	return c, ask(name, "read the queues", unsafe.Pointer(&c))
}

// SetChannels sets how many queues are in use.
func SetChannels(name string, c Channels) error {
	c.command = unix.ETHTOOL_SCHANNELS
	return ask(name, "set the queues", unsafe.Pointer(&c))
}

// SetGRO turns receive offload on or off.
func SetGRO(name string, on bool) error {
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_SGRO}
	if on {
		value.data = 1
	}
	return ask(name, "set GRO", unsafe.Pointer(&value))
}

// ask hands a command to the driver, which may write its answer over it.
func ask(name, what string, command unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", what, name, err)
	}
	defer unix.Close(fd)
	request := struct { // struct ifreq
		name    [unix.IFNAMSIZ]byte
		command unsafe.Pointer
		_       [16]byte
	}{command: command}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("%s of %s: %w", what, name, errno)
	}
	return nil
}

// Driver returns the name of the driver, as "virtio_net".
func Driver(name string) (string, error) {
	info := struct { // struct ethtool_drvinfo
		command uint32
		driver  [32]byte
		_       [160]byte
	}{command: unix.ETHTOOL_GDRVINFO}
	err := ask(name, "read the driver", unsafe.Pointer(&info))
	return unix.ByteSliceToString(info.driver[:]), err
}
