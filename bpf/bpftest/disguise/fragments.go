// This file cuts a payload into fragments and puts them out of order.
package disguise

// piece is one fragment's share; offset is in bytes.
type piece struct {
	offset int
	more   bool
	data   []byte
}

// split cuts a payload into two to five pieces where it is long enough, the first not
// shorter than least. All but the last are multiples of 8 bytes.
func (s *sketch) split(payload []byte, least int) []piece {
	words := (len(payload) - 1) / 8 // places to cut at are 8, 16, ... 8*words
	cuts := map[int]bool{}
	for range s.between(1, 4) {
		if low := (least + 7) / 8; low <= words {
			cuts[8*s.between(low, words)] = true
		}
	}
	var pieces []piece
	start := 0
	for at := 8; at <= 8*words; at += 8 {
		if cuts[at] {
			pieces = append(pieces, piece{start, true, payload[start:at]})
			start = at
		}
	}
	s.note("%d fragments", len(pieces)+1)
	return append(pieces, piece{start, false, payload[start:]})
}

// shuffle orders the packets at random, backwards or not at all, and doubles some. A
// double comes before the last: later it would begin another packet.
func (s *sketch) shuffle(packets [][]byte) [][]byte {
	switch order := s.IntN(3); order {
	case 0:
		s.note("in order")
	case 1:
		s.note("backwards")
		for i, j := 0, len(packets)-1; i < j; i, j = i+1, j-1 {
			packets[i], packets[j] = packets[j], packets[i]
		}
	default:
		s.note("shuffled")
		s.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
	}
	if len(packets) > 1 && s.often(20) {
		s.note("one twice")
		again := packets[s.IntN(len(packets)-1)]
		last := packets[len(packets)-1]
		packets = append(append(packets[:len(packets)-1:len(packets)-1], again), last)
	}
	return packets
}
