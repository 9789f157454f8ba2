package main

// This file makes the disk of a machine: a Debian with systemd in which the product is
// installed and two NICs are configured.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// packages are what a machine has besides Debian's smallest set.
const packages = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,ethtool,procps,e2fsprogs"

// rootTools are what making a disk needs on this machine: program to package.
var rootTools = map[string]string{"debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs", "ip": "iproute2", "nsenter": "util-linux", "make": "make", "dnsmasq": "dnsmasq-base"}

// mirror is the one of this machine's apt.
func mirror() string {
	for _, pattern := range []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d/*"} {
		files, _ := filepath.Glob(pattern) // the pattern is well-formed
		for _, file := range files {
			content, _ := os.ReadFile(file) // one that cannot be read names no mirror
			if found := regexp.MustCompile(`(?m)^(?:URIs:|deb(?: \[.*\])?) *(http\S+)`).FindSubmatch(content); found != nil {
				return string(found[1])
			}
		}
	}
	return "http://deb.debian.org/debian"
}

// debian returns the folder of a suite's root, from the cache. It is made anew when the
// list of packages changes; who wants newer packages removes it.
func debian(ctx context.Context, suite string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("root-%s-%.4x", suite, sha256.Sum256([]byte(packages))))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	temp, err := os.MkdirTemp(cache, "debootstrap-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	fmt.Fprintln(os.Stderr, "kernels: making a root of Debian", suite)
	root := filepath.Join(temp, "root")
	if err := command(ctx, "debootstrap", "--variant=minbase", "--include="+packages, suite, root, mirror()); err != nil {
		return "", err
	}
	// Downloaded packages are of no use in a machine without a network.
	if err := command(ctx, "chroot", root, "apt-get", "clean"); err != nil {
		return "", err
	}
	return dir, os.Rename(root, dir)
}

// command runs a program whose output matters only when it fails.
func command(ctx context.Context, argv ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := out.String()
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, text[max(0, len(text)-2000):])
	}
	return nil
}

// The machine has the package of this commit, which is installed, and that of a later one
// that differs in its version alone.
const (
	firstPackage  = "/root/first.deb"
	secondPackage = "/root/second.deb"
	secondVersion = "second"
)

// debs builds both packages once, under the lock of disks: path in the machine to path here.
var debs = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "packages-")
	if err != nil {
		return nil, err
	}
	disks.dirs = append(disks.dirs, dir)
	found := make(map[string]string)
	for name, settings := range map[string][]string{
		firstPackage:  nil,
		secondPackage: {"VERSION=" + secondVersion, "PACKAGE_VERSION=99"},
	} {
		args := append([]string{"make", "-C", "../..", "-s", "packages", "ARCHES=amd64"}, settings...)
		if err := command(context.Background(), args...); err != nil {
			return nil, err
		}
		built, err := filepath.Glob("../../build/packages/*_amd64.deb")
		if err != nil || len(built) != 1 {
			return nil, fmt.Errorf("make packages made %q, want one .deb", built)
		}
		found[name] = filepath.Join(dir, filepath.Base(name))
		if err := command(context.Background(), "cp", built[0], found[name]); err != nil {
			return nil, err
		}
	}
	return found, nil
})

// install installs the product in the root, as README says.
func install(ctx context.Context, root string) error {
	packages, err := debs()
	if err != nil {
		return err
	}
	for to, from := range packages {
		if err := command(ctx, "cp", from, filepath.Join(root, to)); err != nil {
			return err
		}
	}
	return command(ctx, "chroot", root, "dpkg", "-i", firstPackage)
}

// disks holds those that were made, because machines only read them.
var disks struct {
	sync.Mutex
	made map[string]string // suite and kernel: path of the image
	dirs []string          // to be removed in the end, those of the packages too
}

// removeDisks removes what disk has made.
func removeDisks() {
	for _, dir := range disks.dirs {
		os.RemoveAll(dir)
	}
}

// disk returns the image of a root with the suite, the kernel's modules and the product.
func disk(t *testing.T, suite string, k *kernel) string {
	t.Helper()
	disks.Lock()
	defer disks.Unlock()
	name := suite + " " + k.release
	if disks.made[name] == "" {
		image, err := newDisk(t.Context(), suite, k)
		if err != nil {
			t.Fatalf("make a disk: %v", err)
		}
		if disks.made == nil {
			disks.made = make(map[string]string)
		}
		disks.made[name] = image
	}
	return disks.made[name]
}

func newDisk(ctx context.Context, suite string, k *kernel) (image string, err error) {
	base, err := debian(ctx, suite)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(base), "disk-*")
	if err != nil {
		return "", err
	}
	disks.dirs = append(disks.dirs, dir)
	root, image := filepath.Join(dir, "root"), filepath.Join(dir, "disk.ext4")
	if err := command(ctx, "cp", "-a", base, root); err != nil {
		return "", err
	}
	modules := filepath.Join(root, "lib/modules")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return "", err
	}
	if err := command(ctx, "cp", "-a", k.modules, filepath.Join(modules, k.release)); err != nil {
		return "", err
	}
	if err := install(ctx, root); err != nil {
		return "", err
	}
	for name, content := range files() {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return "", err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	for _, argv := range [][]string{
		{"install", "-D", self, filepath.Join(root, "usr/local/bin", apiServer)},
		{"chroot", root, "depmod", k.release},
		{"chroot", root, "useradd", "-m", "plain"},
		{"chroot", root, "useradd", "-m", "-G", "xdpallow", "reader"},
		{"chroot", root, "useradd", "-m", "-G", "xdpallow,xdpallow-admin", "admin"},
		{"chroot", root, "systemctl", "enable", "-q", "systemd-networkd", "api", "console", "xdpallow"},
		// What is not waited for, and what would be in the way of short boots.
		{
			"chroot", root, "systemctl", "mask", "-q", "systemd-networkd-wait-online", "apt-daily.timer",
			"apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
		},
		{"truncate", "-s", "1500M", image},
		{"mkfs.ext4", "-q", "-d", root, image},
	} {
		if err := command(ctx, argv...); err != nil {
			return "", err
		}
	}
	return image, os.RemoveAll(root)
}

// files are the machine's own: path to content.
func files() map[string]string {
	files := map[string]string{
		"etc/hostname":                          "machine\n",
		"etc/fstab":                             "/dev/vda / ext4 defaults 0 1\n",
		"etc/systemd/journald.conf.d/keep.conf": "[Journal]\nStorage=persistent\n",
		"etc/xdpallow/config.yaml": fmt.Sprintf(`interfaces: [eth0]
services:
  api:
    ports: [%d]
allow:
  - 203.0.113.0/24 owner=acme
  - 2001:db8:a::/48 owner=acme
`, apiPort),
		// As early as a server can be: what it opens, nothing but the gate shuts.
		"etc/systemd/system/api.service": fmt.Sprintf(`[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
ExecStart=/usr/local/bin/%s %d
[Install]
WantedBy=sysinit.target
`, apiServer, apiPort),
		// A root shell on the second serial port: line by line, so that a command cannot
		// take the next one for its input.
		"etc/systemd/system/console.service": `[Unit]
After=basic.target
[Service]
ExecStart=/usr/local/bin/console
Restart=always
[Install]
WantedBy=multi-user.target
`,
		"usr/local/bin/console": `#!/bin/bash
stty -F /dev/ttyS1 raw -echo
exec 0<>/dev/ttyS1 1>&0 2>&1
export HOME=/root TERM=dumb SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
cd /root
echo ` + booted + `
while IFS= read -r line; do eval "$line" </dev/null; status=$?; done
`,
	}
	for i, k := range segments {
		files[fmt.Sprintf("etc/systemd/network/eth%d.network", i)] = fmt.Sprintf(`[Match]
Name=eth%d
[Network]
Address=%s
Address=%s
DHCP=no
IPv6AcceptRA=no
`, i, k.guest4, k.guest6)
	}
	files["etc/systemd/network/eth0.network"] += fmt.Sprintf("Gateway=%s\nGateway=%s\n", segments[0].outside4.Addr(), segments[0].outside6.Addr())
	return files
}
