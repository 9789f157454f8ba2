// The barrier between the flip and the emptying of the old slot: no packet is so
// slow that the slot that it began with is emptied under it.
package maps_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

const slotGone, slotThere = 1, 2

// slowReader does as the gate does: it reads the live slot once, and uses it. In
// between it dawdles for some ms, where the gate needs less than a microsecond: it
// sees nearly every publish that does not wait, where the gate sees one in millions.
func slowReader(t *testing.T, tables *maps.Tables) *ebpf.Program {
	t.Helper()
	lookUp := func(m *ebpf.Map) asm.Instructions {
		return asm.Instructions{
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "gone"),
		}
	}
	shared := tables.Replacements()
	program := asm.Instructions{asm.StoreImm(asm.RFP, -4, 0, asm.Word)}
	program = append(program, lookUp(shared[bpf.XdpallowMapCurrent])...)
	program = append(program,
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
	)
	program = append(program, dawdle()...)
	program = append(program, asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word))
	program = append(program, lookUp(shared[bpf.XdpallowMapAllow4])...)
	program = append(program,
		asm.Mov.Imm(asm.R0, slotThere),
		asm.Return(),
		asm.Mov.Imm(asm.R0, slotGone).WithSymbol("gone"),
		asm.Return(),
	)
	return loadSlow(t, program)
}

// dawdle takes some ms, and leaves R7 to R9 as they are.
func dawdle() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R6, 10_000),
		asm.FnKtimeGetBootNs.Call().WithSymbol("dawdle"),
		asm.FnKtimeGetBootNs.Call(),
		asm.FnKtimeGetBootNs.Call(),
		asm.FnKtimeGetBootNs.Call(),
		asm.Sub.Imm(asm.R6, 1),
		asm.JNE.Imm(asm.R6, 0, "dawdle"),
	}
}

func loadSlow(t *testing.T, program asm.Instructions) *ebpf.Program {
	t.Helper()
	loaded, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: program, License: "GPL"})
	if err != nil {
		t.Fatalf("load slow program: %+v", err)
	}
	t.Cleanup(func() { loaded.Close() })
	return loaded
}

// readSlowly calls change while a slow reader runs, and returns how often it ran and
// how often its slot was emptied under it; lost tells change how often so far.
func readSlowly(t *testing.T, tables *maps.Tables, change func(lost func() int)) (runs, gone int) {
	t.Helper()
	return runSlowly(t, slowReader(t, tables), slotThere, change)
}

// runSlowly calls change while a program runs again and again, and returns how often it ran and how
// often it did not return want; other tells change how often so far.
func runSlowly(t *testing.T, program *ebpf.Program, want uint32, change func(other func() int)) (runs, others int) {
	t.Helper()
	frame := mapstest.Opening(addr("192.0.2.1"), port).Bytes()
	stop := make(chan struct{})
	var other atomic.Int64
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			value, err := program.Run(&ebpf.RunOptions{Data: frame})
			if err != nil {
				t.Errorf("run slow program: %v", err)
				return
			}
			runs++
			if value != want {
				other.Add(1)
			}
			// A CPU that does nothing else would hold up every grace period.
			time.Sleep(time.Millisecond)
		}
	})
	func() {
		defer running.Wait()
		defer close(stop)
		change(func() int { return int(other.Load()) })
	}()
	return runs, int(other.Load())
}

func TestPublishWaitsForSlowReaders(t *testing.T) {
	const publishes = 50
	tables := mapstest.Tables(t, contradicting(1, false))
	runs, gone := readSlowly(t, tables, func(func() int) {
		for i := range uint64(publishes) {
			mapstest.Publish(t, tables, contradicting(i+2, i%2 == 0))
		}
	})
	t.Logf("%d runs during %d publishes", runs, publishes)
	if runs < publishes || gone != 0 {
		t.Errorf("the slot was emptied under %d of %d runs", gone, runs)
	}
}

// The slow reader sees it when nobody waits: current is flipped and the slot that
// was live is emptied at once.
func TestSlowReaderSeesTheLackOfABarrier(t *testing.T) {
	tables := mapstest.Tables(t, contradicting(1, false))
	shared := tables.Replacements()
	current, allow4 := shared[bpf.XdpallowMapCurrent], shared[bpf.XdpallowMapAllow4]
	var live bpf.XdpallowCurrent
	if err := current.Lookup(uint32(0), &live); err != nil {
		t.Fatal(err)
	}
	_, gone := readSlowly(t, tables, func(lost func() int) {
		// On a busy machine the reader seldom runs in the moment that it must.
		for generation := uint64(2); generation < 100 || generation < 20_000 && lost() == 0; generation++ {
			trie, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 24, MaxEntries: 1, Flags: 1})
			if err != nil {
				t.Fatal(err)
			}
			old, next := live.Slot, 1-live.Slot
			live = bpf.XdpallowCurrent{Slot: next, Generation: generation}
			if err := allow4.Put(uint32(next), trie); err != nil {
				t.Fatal(err)
			}
			trie.Close()
			// That was a grace period: let the reader begin again.
			time.Sleep(time.Duration(generation%4) * time.Millisecond)
			if err := current.Put(uint32(0), live); err != nil {
				t.Fatal(err)
			}
			if err := allow4.Delete(uint32(old)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if gone == 0 {
		t.Error("the slow reader is blind")
	}
	t.Logf("%d runs lost their slot", gone)
}
