// Package bpf is what the kernel runs: the XDP program, compiled and committed,
// and its generated bindings. Regenerate with `make generate` and clang 14, the
// compiler whose output is byte for byte the committed object.
package bpf

// XdpallowMapCurrent is the map of current, which the generator takes for a variable.
const XdpallowMapCurrent = ".data.current"

//go:generate go tool bpf2go -tags linux -target bpfel -type reason -type verdict -type family -type scope -type entry -type key -type event Xdpallow xdpallow.bpf.c
