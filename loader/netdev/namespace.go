package netdev

// This file tells network namespaces apart.

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// NamespaceFile is the network namespace of the calling thread, to be opened.
const NamespaceFile = "/proc/thread-self/ns/net"

// Namespace returns the inode of the calling thread's network namespace, 0 when it
// cannot be told.
func Namespace() uint64 {
	var stat unix.Stat_t
	if err := unix.Stat(NamespaceFile, &stat); err != nil {
		return 0
	}
	return stat.Ino
}

// NamespaceName returns the file that a namespace is mounted on, or net:[INODE].
func NamespaceName(inode uint64) string {
	const dir = "/run/netns"
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		var stat unix.Stat_t
		if path := filepath.Join(dir, f.Name()); unix.Stat(path, &stat) == nil && stat.Ino == inode {
			return path
		}
	}
	return fmt.Sprintf("net:[%d]", inode)
}
