package enrol

// This file reads the certificate that the process shows, which is renewed every few weeks by others.

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// pair is a certificate with its key, read again when a file has changed.
type pair struct {
	cert, key string // paths

	mu    sync.Mutex
	stamp string
	last  *tls.Certificate
}

// get returns the pair as the files have it. While they do not fit, as in the middle of a renewal, the last good one stays.
func (p *pair) get() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp, err := stampFile(p.cert)
	if err == nil {
		var second string
		second, err = stampFile(p.key)
		stamp += second
	}
	if err == nil && stamp == p.stamp {
		return p.last, nil
	}
	var fresh tls.Certificate
	if err == nil {
		fresh, err = tls.LoadX509KeyPair(p.cert, p.key)
	}
	switch {
	case err == nil:
		p.last, p.stamp = &fresh, stamp
	case p.last == nil:
		return nil, fmt.Errorf("read the certificate and the key to show: %w", err)
	case p.stamp != stamp:
		slog.Error(fmt.Sprintf("%s: the certificate from before stays: %v", p.cert, err))
		p.stamp = stamp
	}
	return p.last, nil
}

// stampFile returns what is another text when path is another file, or was written to.
func stampFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", fmt.Errorf("%s is no file of at most %d bytes", path, maxFile)
	}
	var inode uint64
	var changed syscall.Timespec
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode, changed = stat.Ino, stat.Ctim
	}
	return fmt.Sprintf("%q %d %d %d %d\n", path, info.Size(), info.ModTime().UnixNano(), inode, changed.Nano()), nil
}
