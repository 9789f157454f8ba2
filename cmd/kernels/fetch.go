// This file gets kernels from Debian by apt, without installing them.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernel is an unpacked Debian kernel package.
type kernel struct {
	arch    *architecture
	release string // as uname -r says
	modules string // folder of its modules
	image   string // what QEMU boots
}

// installTools installs those programs, each with its package, that are missing.
func installTools(ctx context.Context, programs map[string]string) error {
	var missing []string
	for program, pkg := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintln(os.Stderr, "kernels: installing", strings.Join(missing, " "))
	install := append([]string{"install", "--yes", "-qq", "--no-install-recommends"}, missing...)
	return withFreshLists(ctx, nil, func() error { return apt(ctx, "", install...) })
}

// fetch returns the kernel of a version like 6.1, from the cache if Debian has
// no newer one.
func fetch(ctx context.Context, arch *architecture, version string, generic bool) (*kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	options, err := arch.aptOptions()
	if err != nil {
		return nil, err
	}
	var dir string
	err = withFreshLists(ctx, options, func() error {
		pkg, err := resolve(ctx, arch, options, version, generic)
		if err != nil {
			return err
		}
		dir = filepath.Join(cache, pkg)
		if _, err := os.Stat(dir); err == nil {
			return nil
		}
		return download(ctx, options, pkg, dir)
	})
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s: %w", version, err)
	}
	return unpacked(ctx, arch, dir)
}

func cacheDir() (string, error) {
	if dir := os.Getenv("XDPALLOW_KERNELS"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w (set XDPALLOW_KERNELS)", err)
	}
	return filepath.Join(dir, "xdpallow-kernels"), nil
}

// resolve follows the meta packages, because the names of real ones carry an
// ABI number, and old ones go from the mirror. Debian's default kernel has no
// version in the name of its meta package.
func resolve(ctx context.Context, arch *architecture, options []string, version string, generic bool) (pkg string, err error) {
	want := "linux-image-" + version + "."
	flavour := "cloud-" + arch.name
	if generic {
		flavour = arch.name
	}
	for _, meta := range []string{"linux-image-" + version + "-" + flavour, "linux-image-" + flavour} {
		out, err := exec.CommandContext(ctx, "apt-cache", append(options, "depends", meta)...).Output()
		if err != nil {
			continue // apt-cache knows no such package
		}
		for line := range strings.Lines(string(out)) {
			name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
			if ok && strings.HasPrefix(name, want) {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("apt offers no kernel %s (see: apt-cache search linux-image)", version)
}

// download unpacks the package beside dir and renames it, so that an
// interrupted run leaves no half kernel in the cache.
func download(ctx context.Context, options []string, pkg, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "download-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	fmt.Fprintln(os.Stderr, "kernels: downloading", pkg)
	if err := apt(ctx, temp, append(options, "download", "-qq", "-o", "APT::Sandbox::User=root", pkg)...); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: got %d packages, want 1", pkg, len(debs))
	}
	root := filepath.Join(temp, "root")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], root).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", pkg, err, out)
	}
	err = os.Rename(root, dir)
	if errors.Is(err, fs.ErrExist) { // another run was faster
		return nil
	}
	return err
}

// unpacked describes the kernel in dir.
func unpacked(ctx context.Context, arch *architecture, dir string) (*kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s holds %d kernels, want 1: remove the folder to fetch it again", dir, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := &kernel{arch: arch, release: release, modules: filepath.Join(dir, "lib/modules", release)}
	k.image, err = arch.image(ctx, images[0], filepath.Join(dir, "vmlinux"))
	return k, err
}

// withFreshLists tries again after apt-get update, but only if the first try
// failed: an update takes longer than a boot.
func withFreshLists(ctx context.Context, options []string, try func() error) error {
	first := try()
	if first == nil || ctx.Err() != nil {
		return first
	}
	if err := apt(ctx, "", append(options, "update", "-qq")...); err != nil {
		return errors.Join(first, err)
	}
	return try()
}

func apt(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
