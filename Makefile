# What README says, and what a maintainer does. `make help` lists the targets.
SHELL      := /bin/bash -o pipefail
CLANG      ?= clang-14
CLANG_FORMAT := clang-format-14
BPF_CFLAGS := -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 \
	-I/usr/include/$(shell uname -m)-linux-gnu
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null)
GO_BUILD   := CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
PREFIX     ?= /usr/local
UNITS      ?= /etc/systemd/system
MANUALS    ?= $(PREFIX)/share/man/man8
GOFUMPT    := go run mvdan.cc/gofumpt@v0.12.0
NFPM       := go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.1
CYCLONEDX  := go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.3.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What the tests run besides Go: command -> Debian package.
TOOLS := curl:curl nsenter:util-linux unshare:util-linux ip:iproute2 \
	$(CLANG):$(CLANG) llvm-strip-14:llvm-14 git:git nft:nftables \
	prometheus:prometheus promtool:prometheus \
	sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client sudo:sudo \
	lintian:lintian rpm:rpm dnsmasq:dnsmasq-base \
	nginx:nginx-light caddy:caddy haproxy:haproxy socat:socat \
	etcd:etcd-server etcdctl:etcd-client

.PHONY: help build demo test test-kernels test-machines test-machines-all disguises fuzz soak tools root generate bench lint install uninstall stage packages release vuln clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build/xdpallow, static
	$(GO_BUILD) -o build/xdpallow ./cmd/xdpallow

demo: build root ## show the whole job in namespaces, and clean up (root)
	build/xdpallow demo

test: root tools ## every test, here and on kernels 6.1 and 6.12 (root)
	go test -count=1 -timeout 12m -parallel 6 ./...
	$(MAKE) test-kernels

# All of bpf and loader, and of maps what depends on the kernel and is not load. One
# CPU: while the kernel patches code that another CPU is about to run, as it does for
# each XDP program, emulated CPUs can crash it.
KERNELS    ?= 6.1 6.12
ARCH       ?= amd64
KERNELS_TIMEOUT ?= 5m
# What needs a compiler, and what an emulated processor is too slow for.
HERE_ONLY := Mutants|NotDecided|Natively|Sanitizer|AgreesWithOracle
MAPS_TESTS := Adopt|Stale|BrokenBatches|Tries|Patches|NeverLost|Counters|FuzzPrefilter|RefusedPacket|FullRing|Burst|LimitHolds|OpeningsAre|AuditEnds

test-kernels: ## load, publish, attach and drop on kernels 6.1 and 6.12, in QEMU
	GOARCH=$(ARCH) CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -o build/$(ARCH)/ ./bpf ./maps ./loader ./loader/netdev
	GOARCH=$(ARCH) CGO_ENABLED=0 go build -trimpath -o build/$(ARCH)/kernels ./cmd/kernels
	go run ./cmd/kernels -arch $(ARCH) -init build/$(ARCH)/kernels -timeout $(KERNELS_TIMEOUT) -cpus 1 -dir /src -copy testdata=/testdata \
		-modules veth,8021q,macvlan,bonding,bridge -env XDPALLOW_KINDS=vlan,macvlan,bond,bridge \
		$(KERNELS) -- build/$(ARCH)/bpf.test -test.skip '$(HERE_ONLY)' + \
		build/$(ARCH)/maps.test -test.run '$(MAPS_TESTS)' + build/$(ARCH)/loader.test + build/$(ARCH)/netdev.test

# A processor for each of two machines at a time.
MACHINES := CGO_ENABLED=0 go test -count=1 -timeout 90m -parallel 2 -v ./cmd/kernels

test-machines: root ## the package on machines that are booted, damaged and rebooted, in QEMU (root)
	XDPALLOW_MACHINES=ci $(MACHINES)

test-machines-all: root ## test-machines with every suite, kernel and driver (root)
	XDPALLOW_MACHINES=all $(MACHINES)

disguises: root tools ## 50,000 random disguises of a SYN against the filter (root)
	XDPALLOW_DISGUISES=50000 go test -count=1 -timeout 30m -run Disguise ./cmd/xdpallow/internal/e2e -v

soak: root ## 1,000 replaces of a 10,000-entry list under load, and 1,000 mixed changes; a million SYNs/s for ten minutes (root)
	XDPALLOW_CHANGES=1000 go test -count=1 -timeout 60m -run ChangesUnderLoad ./loader/reconcile -v
	XDPALLOW_CHANGES=1000 CGO_ENABLED=1 go test -race -count=1 -timeout 60m -run OwnershipBesidePublishes ./loader/reconcile -v
	XDPALLOW_SOAK=1 go test -count=1 -timeout 60m -run Soak ./cmd/xdpallow/internal/e2e -v

fuzz: root ## ten minutes of packets, and of lists, on which program and model could differ (root)
	go test -run '^$$' -fuzz FuzzDecide -fuzztime 10m ./bpf
	go test -run '^$$' -fuzz FuzzPrefilter -fuzztime 10m -fuzzminimizetime 5x ./maps
	go test -run '^$$' -fuzz FuzzChangeLog -fuzztime 2m ./loader/store
	go test -run '^$$' -fuzz FuzzRule -fuzztime 1m ./loader/source
	go test -run '^$$' -fuzz FuzzLimits -fuzztime 1m ./loader/source
	go test -run '^$$' -fuzz FuzzManifest -fuzztime 1m ./loader/fleet/layout
	go test -run '^$$' -fuzz FuzzDelta -fuzztime 1m ./loader/fleet/layout

tools: # install with apt what the tests need and is missing
	@missing=; for pair in $(TOOLS); do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$$missing libbpf-dev"; \
	ls /usr/lib/llvm-14/lib/clang/14*/lib/linux/libclang_rt.asan-$$(uname -m).a >/dev/null 2>&1 || \
		missing="$$missing libclang-rt-14-dev"; \
	[ -e /usr/include/linux/bpf.h ] || missing="$$missing linux-libc-dev"; \
	if [ -n "$$missing" ]; then \
		echo "the tests need, and apt-get now installs:$$missing" >&2; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing || exit; \
		for pair in prometheus:prometheus openssh-server:ssh nginx-light:nginx caddy:caddy haproxy:haproxy etcd-server:etcd; do \
			case "$$missing" in *$${pair%%:*}*) \
				[ ! -d /run/systemd/system ] || systemctl disable --now $${pair##*:}; \
			esac; \
		done; \
	fi

root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

generate: ## compile the BPF objects and their Go bindings, with clang 14
	BPF2GO_CC=$(CLANG) BPF2GO_STRIP=llvm-strip-14 BPF2GO_CFLAGS="$(BPF_CFLAGS)" go generate ./bpf ./bpf/bench

# What the benchmark compares with: command -> Debian package.
PEERS := nft:nftables ipset:ipset iptables:iptables xdp-filter:xdp-tools taskset:util-linux nsenter:util-linux \
	nginx:nginx-light wrk:wrk

bench: root build ## what a packet costs, beside other filters, and what a command takes; an hour, and the chart (root)
	$(MAKE) tools TOOLS="$(PEERS)"
	go build -o build/bench ./cmd/bench
	build/bench -raw testdata/bench -chart .github/bench.svg

lint: ## go vet, gofumpt, staticcheck and clang-format
	@$(MAKE) --no-print-directory tools TOOLS="$(CLANG_FORMAT):$(CLANG_FORMAT)"
	$(CLANG_FORMAT) --dry-run --Werror $$(git ls-files '*.c' '*.h')
	go vet ./...
	go vet -tags nic ./loader/...
	@unformatted=$$($(GOFUMPT) -l .) && [ -z "$$unformatted" ] || { echo "gofumpt -w: $$unformatted" >&2; exit 1; }
	$(STATICCHECK) ./...

install: stage ## install the command, its units, groups, man page and completions (root)
	install -D -m 0755 build/xdpallow $(DESTDIR)$(PREFIX)/bin/xdpallow
	install -D -m 0644 $(STAGE)/xdpallow.service $(DESTDIR)$(UNITS)/xdpallow.service
	install -D -m 0644 $(STAGE)/xdpallow-enrol.service $(DESTDIR)$(UNITS)/xdpallow-enrol.service
	install -D -m 0644 cmd/xdpallow/assets/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/xdpallow.conf
	install -D -m 0644 $(STAGE)/xdpallow.8.gz $(DESTDIR)$(MANUALS)/xdpallow.8.gz
	install -D -m 0644 $(STAGE)/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/xdpallow
	install -D -m 0644 $(STAGE)/completion.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_xdpallow
	install -D -m 0644 $(STAGE)/completion.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/xdpallow.fish
	-[ -n "$(DESTDIR)" ] || systemd-sysusers $(PREFIX)/lib/sysusers.d/xdpallow.conf
	@echo "next: mkdir -p /etc/xdpallow; xdpallow assets config >/etc/xdpallow/config.yaml; edit it; systemctl enable --now xdpallow"

uninstall: ## open the gate and remove what install put there; state stays (root)
	-[ -n "$(DESTDIR)" ] || systemctl disable --now xdpallow xdpallow-enrol
	-[ -n "$(DESTDIR)" ] || $(PREFIX)/bin/xdpallow detach --yes
	rm -f $(DESTDIR)$(PREFIX)/bin/xdpallow $(DESTDIR)$(UNITS)/xdpallow.service $(DESTDIR)$(UNITS)/xdpallow-enrol.service \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d/xdpallow.conf $(DESTDIR)$(MANUALS)/xdpallow.8.gz \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/xdpallow \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_xdpallow \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/xdpallow.fish

# What an installation has beside the command; the unit names the command by its path.
STAGE := build/stage
stage: build
	@mkdir -p $(STAGE)
	build/xdpallow assets unit --path $(PREFIX)/bin/xdpallow > $(STAGE)/xdpallow.service
	build/xdpallow assets enrol-unit --path $(PREFIX)/bin/xdpallow > $(STAGE)/xdpallow-enrol.service
	build/xdpallow assets config | sed 's/^# allow_files:/allow_files:/' > $(STAGE)/config.yaml
	build/xdpallow assets man | gzip -9n > $(STAGE)/xdpallow.8.gz
	@for shell in bash zsh fish; do build/xdpallow completion $$shell > $(STAGE)/completion.$$shell || exit; done

# Debian compares versions part by part: between releases the time of the commit counts.
COMMIT_TIME := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
PACKAGE_VERSION ?= $(shell git describe --tags --exact-match --match 'v*' 2>/dev/null | sed 's/^v//' | grep . || \
	echo "0.0.0+git$$(date -u -d @$(COMMIT_TIME) +%Y%m%d%H%M%S).$$(git rev-parse --short HEAD 2>/dev/null)")

ARCHES ?= amd64 arm64
packages: PREFIX = /usr
packages: stage ## build/packages/*.deb and *.rpm, for amd64 and arm64; the same bytes for the same commit
	@mkdir -p build/packages && rm -f build/packages/*
	@printf 'xdpallow (%s) unstable; urgency=medium\n\n  * https://github.com/xdpallow/xdpallow has what changed.\n\n -- xdpallow maintainers <maintainers@xdpallow.org>  %s\n' \
		'$(PACKAGE_VERSION)' "$$(date -u -R -d @$(COMMIT_TIME))" | gzip -9n > $(STAGE)/changelog.gz
	@for arch in $(ARCHES); do \
		GOARCH=$$arch $(GO_BUILD) -o $(STAGE)/$$arch/xdpallow ./cmd/xdpallow || exit; \
		for kind in deb rpm; do \
			ARCH=$$arch STAGE=$(STAGE) PACKAGE_VERSION='$(PACKAGE_VERSION)' SOURCE_DATE_EPOCH=$(COMMIT_TIME) \
			$(NFPM) package --config cmd/xdpallow/assets/packages/nfpm.yaml --packager $$kind --target build/packages || exit; \
		done; \
	done

release: packages ## packages, their checksums, and what they are made of (CycloneDX), in build/packages
	$(CYCLONEDX) bin -json -noserial -version '$(PACKAGE_VERSION)' -output build/packages/xdpallow.cdx.json build/xdpallow
	cd build/packages && sha256sum * > SHA256SUMS

vuln: ## known vulnerabilities in what is called; asks the database of the Go project
	$(GOVULNCHECK) ./...

clean: ## remove what was built
	rm -rf build
