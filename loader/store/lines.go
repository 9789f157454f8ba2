// This file reads the lines of a file from either end. It needs memory for one line, whatever
// somebody wrote into the file.

package store

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

const chunk = 64 << 10

// backward yields the lines of the first size bytes of r, the last one first and
// without their ends; no empty ones, and none over maxLine. A line is the
// reader's until the next one.
func backward(r io.ReaderAt, size int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var rest []byte  // the end of a line that begins before size
		var tooLong bool // and what is left out of it
		for size > 0 {
			n := min(size, max(chunk, int64(len(rest)))) // twice as much each time, for a long line
			block := make([]byte, n, n+int64(len(rest)))
			size -= n
			if _, err := r.ReadAt(block, size); err != nil {
				if !errors.Is(err, io.EOF) { // truncated while we read: by who rotates it
					yield(nil, err)
				}
				return
			}
			block = append(block, rest...)
			for i := bytes.LastIndexByte(block, '\n'); i >= 0; i = bytes.LastIndexByte(block, '\n') {
				line := block[i+1:]
				if len(line) > 0 && len(line) <= maxLine && !tooLong && !yield(line, nil) {
					return
				}
				block, tooLong = block[:i], false
			}
			if rest = block; len(rest) > maxLine {
				rest, tooLong = nil, true
			}
		}
		if len(rest) > 0 && !tooLong {
			yield(rest, nil)
		}
	}
}

// forward yields the same lines, the first one first.
func forward(r io.ReaderAt, size int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), chunk)
		var line []byte
		tooLong := false
		for {
			piece, err := in.ReadSlice('\n')
			if tooLong = tooLong || len(line)+len(piece) > maxLine+1; !tooLong {
				line = append(line, piece...)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			line = bytes.TrimSuffix(line, []byte("\n"))
			if len(line) > 0 && len(line) <= maxLine && !tooLong && !yield(line, nil) {
				return
			}
			line, tooLong = line[:0], false
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
