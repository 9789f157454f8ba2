# What README says, and what a maintainer does. `make help` lists the targets.
CLANG      ?= clang-14
BPF_CFLAGS := -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 \
	-I/usr/include/$(shell uname -m)-linux-gnu

generate: ## compile the BPF object and its Go bindings (needs clang 14, libbpf-dev)
	BPF2GO_CC=$(CLANG) BPF2GO_CFLAGS="$(BPF_CFLAGS)" go generate ./bpf
