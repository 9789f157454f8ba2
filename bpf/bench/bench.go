// Package bench holds the programs that the shipped one is measured against and with:
// the least that a drop could cost, the floor of our own, and what makes the packets.
package bench

//go:generate go tool bpf2go -tags linux -target bpfel Driver driver.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel Flood flood.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel ParseDrop parse_drop.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -no-global-types Floor floor.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -no-global-types Unsampled unsampled.bpf.c
