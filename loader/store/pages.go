// This file checks the pages of a database before bbolt, which trusts them, opens it: each page in
// use must be a page, be used once, and not be listed as free, or the next change would overwrite
// it.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
)

// The file format of bbolt, version 2, as of a little-endian host.
const (
	pageHead    = 16 // id u64, flags u16, count u16, overflow u32
	branchSize  = 16 // pos u32, key size u32, page u64
	leafSize    = 16 // flags u32, pos u32, key size u32, value size u32
	metaSize    = 64 // magic u32 … checksum u64
	bucketHead  = 16 // root page u64, sequence u64
	pageBranch  = 0x01
	pageLeaf    = 0x02
	pageFree    = 0x10
	bucketLeaf  = 0x01
	metaMagic   = 0xED0CDAED
	noFreelist  = math.MaxUint64
	deepestPage = 64
)

// pages checks every page of a database file.
type pages struct {
	file []byte
	size uint64 // of a page
	end  uint64 // the first page that was never used
	used map[uint64]bool
}

var le = binary.LittleEndian

// checkPages returns what is wrong with the pages of a database, or nil. A page that is not in use
// may hold anything.
func checkPages(file []byte) error {
	root, freelist, p, err := newestMeta(file)
	if err != nil {
		return err
	}
	if err := p.tree(root, 0, &order{}); err != nil {
		return err
	}
	if freelist == noFreelist {
		return nil
	}
	return p.free(freelist)
}

// newestMeta reads the two meta pages, which have checksums, and returns what the newer intact one
// says.
func newestMeta(file []byte) (root, freelist uint64, p pages, err error) {
	best, found := uint64(0), false
	for _, size := range []int{4096, 8192, 16384, 32768, 65536, 1024, 2048} { // the second meta page is at the page size
		for at := 0; at <= size; at += size {
			if len(file) < at+pageHead+metaSize {
				continue
			}
			meta := file[at+pageHead : at+pageHead+metaSize]
			sum := fnv.New64a()
			sum.Write(meta[:metaSize-8])
			if le.Uint32(meta) != metaMagic || sum.Sum64() != le.Uint64(meta[56:]) || le.Uint32(meta[8:]) != uint32(size) {
				continue
			}
			if txid := le.Uint64(meta[48:]); !found || txid > best {
				best, found = txid, true
				root, freelist = le.Uint64(meta[16:]), le.Uint64(meta[32:])
				p = pages{file, uint64(size), le.Uint64(meta[40:]), map[uint64]bool{}}
			}
		}
	}
	if !found {
		return 0, 0, p, errors.New("no meta page is whole")
	}
	return root, freelist, p, nil
}

// page returns a page with its overflow pages, and marks them as used.
func (p pages) page(id uint64) (page []byte, flags uint16, count int, err error) {
	damaged := func(what string) error { return fmt.Errorf("page %d %s", id, what) }
	if id < 2 || id >= p.end || (id+1)*p.size > uint64(len(p.file)) {
		return nil, 0, 0, damaged("is not in the file")
	}
	page = p.file[id*p.size:]
	length := (uint64(le.Uint32(page[12:])) + 1) * p.size
	if le.Uint64(page) != id || length > uint64(len(page)) || id+length/p.size > p.end {
		return nil, 0, 0, damaged("is no page")
	}
	for n := id; n < id+length/p.size; n++ {
		if p.used[n] {
			return nil, 0, 0, damaged("is used twice")
		}
		p.used[n] = true
	}
	return page[:length], le.Uint16(page[8:]), int(le.Uint16(page[10:])), nil
}

// order checks that the keys of one bucket rise.
type order struct {
	last, floor []byte
	any         bool
}

// next reports whether key may come next.
func (o *order) next(key []byte) bool {
	if o.any && bytes.Compare(key, o.last) <= 0 || bytes.Compare(key, o.floor) < 0 {
		return false
	}
	o.last, o.any = key, true
	return true
}

// tree checks a page and all pages below it.
func (p pages) tree(id uint64, depth int, keys *order) error {
	if depth > deepestPage {
		return errors.New("pages are nested too deep")
	}
	page, flags, count, err := p.page(id)
	if err != nil {
		return err
	}
	switch flags {
	case pageLeaf:
		return p.leaf(page, count, depth, keys)
	case pageBranch:
		return p.branch(page, count, depth, keys)
	}
	return fmt.Errorf("page %d is of no kind", id)
}

func (p pages) branch(page []byte, count, depth int, keys *order) error {
	if count == 0 {
		return errors.New("a branch leads nowhere")
	}
	for i := range count {
		at := pageHead + i*branchSize
		if at+branchSize > len(page) {
			return errors.New("a page is cut off")
		}
		element := page[at:]
		start := uint64(at) + uint64(le.Uint32(element))
		end := start + uint64(le.Uint32(element[4:]))
		if end > uint64(len(page)) {
			return errors.New("a key is cut off")
		}
		floor := page[start:end]
		if keys.any && bytes.Compare(floor, keys.last) <= 0 {
			return errors.New("keys are out of order")
		}
		keys.floor = floor
		if err := p.tree(le.Uint64(element[8:]), depth+1, keys); err != nil {
			return err
		}
	}
	return nil
}

func (p pages) leaf(page []byte, count, depth int, keys *order) error {
	for i := range count {
		at := pageHead + i*leafSize
		if at+leafSize > len(page) {
			return errors.New("a page is cut off")
		}
		element := page[at:]
		key := uint64(at) + uint64(le.Uint32(element[4:]))
		value := key + uint64(le.Uint32(element[8:]))
		end := value + uint64(le.Uint32(element[12:]))
		if end > uint64(len(page)) {
			return errors.New("a record is cut off")
		}
		if !keys.next(page[key:value]) {
			return errors.New("keys are out of order")
		}
		if le.Uint32(element)&bucketLeaf == 0 {
			continue
		}
		bucket := page[value:end]
		if len(bucket) < bucketHead {
			return errors.New("a bucket is cut off")
		}
		var err error
		if root := le.Uint64(bucket); root != 0 {
			err = p.tree(root, depth+1, &order{})
		} else if inline := bucket[bucketHead:]; len(inline) < pageHead || le.Uint16(inline[8:]) != pageLeaf {
			err = errors.New("a bucket is no page")
		} else {
			err = p.leaf(inline, int(le.Uint16(inline[10:])), depth+1, &order{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// free checks the list of free pages.
func (p pages) free(id uint64) error {
	page, flags, n, err := p.page(id)
	if err != nil {
		return err
	}
	if flags != pageFree {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	ids, count := page[pageHead:], uint64(n)
	if n == math.MaxUint16 {
		count, ids = le.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return errors.New("the list of free pages is cut off")
	}
	for i := range count {
		free := le.Uint64(ids[8*i:])
		if free < 2 || free >= p.end || p.used[free] {
			return fmt.Errorf("page %d is in use and listed as free", free)
		}
		p.used[free] = true
	}
	return nil
}
