// Package layout is how the list of a fleet is written down: a manifest, which stands under one key,
// and the entries as chunks that never change, each named by its sum. It is pure, and bounds all
// that it reads, whoever wrote it.
//
// All hosts see one change of one key; what they fetch is the chunks that they do not hold.
package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Bounds of what is read, whoever wrote it.
const (
	MaxManifest = 1 << 20 // bytes of a manifest
	maxEntries  = 2_000_000
	maxDelta    = 16 << 10 // bytes of the lines of a delta
)

// Errors of a manifest that is well formed and not the successor of what a host has.
var (
	// ErrChanged is a manifest of another fleet: its cluster was wiped, or another one answers.
	ErrChanged = errors.New("is of another fleet")
	// ErrOlder is a manifest with a lower serial: a backup must not let a removed customer in.
	ErrOlder = errors.New("is older than what is enforced")
	// ErrNoList is a list that nobody wrote, or that was deleted.
	ErrNoList = errors.New("there is no list")
)

// Manifest is a list as it stands under its key, in JSON.
type Manifest struct {
	Version int       `json:"version"` // 1
	Fleet   string    `json:"fleet"`   // identity of the fleet, made once
	Serial  uint64    `json:"serial"`  // one more with each change
	Time    time.Time `json:"time"`
	By      string    `json:"by"`      // who wrote it, as he says himself
	Command string    `json:"command"` // "fleet remove 203.0.113.0/24"
	Reason  string    `json:"reason,omitempty"`

	Entries int     `json:"entries"`
	Sum     string  `json:"sum"` // of the sums of the chunks
	Chunks  []Chunk `json:"chunks"`
	Delta   *Delta  `json:"delta,omitempty"`

	Suspended []Suspension     `json:"suspended,omitempty"`
	Limits    map[string]Limit `json:"limits,omitempty"` // by owner

	AllowEmpty bool   `json:"allow_empty,omitempty"`
	AllowAny   bool   `json:"allow_any,omitempty"` // prefixes as wide as they like
	First      *First `json:"first,omitempty"`     // of a manifest that waits for confirmation
}

// Chunk is a part of a list: the entries from First up to the First of the next chunk.
type Chunk struct {
	Sum     string       `json:"sum"` // SHA-256 of its lines, hexadecimal
	First   netip.Prefix `json:"first"`
	Entries int          `json:"entries"`
}

// Suspension is one prefix or owner that is stopped on every host.
type Suspension struct {
	Subject string    `json:"subject"` // a canonical prefix, or an owner
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since"`
	By      string    `json:"by,omitempty"`
	Nested  bool      `json:"nested,omitempty"` // of an owner: with what others have in his network
}

// Limit bounds how many connections an owner opens on each host.
type Limit struct {
	PerSecond float64 `json:"per_second"`
	Burst     uint32  `json:"burst"`
}

// First says which hosts take a manifest over before it is confirmed.
type First struct {
	Group string `json:"group"`
	Over  uint64 `json:"over"` // the serial that the list had, to which the group goes back
}

// Mark is the serial as a reading has it.
func (m *Manifest) Mark() string { return strconv.FormatUint(m.Serial, 10) }

// Why says in one line what m is, for history.
func (m *Manifest) Why() string {
	who := m.By
	if m.Reason != "" {
		who += ": " + m.Reason
	}
	staged := ""
	if m.First != nil {
		staged = ", for group " + m.First.Group + " until it is confirmed"
	}
	return fmt.Sprintf("serial %d: %s (%s)%s", m.Serial, m.Command, who, staged)
}

// Succeeds returns nil where m may follow have, which a host took over last: nil is nothing. Else
// it returns ErrChanged or ErrOlder. A group goes back from what was not confirmed.
func (m *Manifest) Succeeds(have *Manifest) error {
	switch {
	case have == nil:
		return nil
	case m.Fleet != have.Fleet:
		return ErrChanged
	case m.Serial > have.Serial, m.Serial == have.Serial && m.Sum == have.Sum:
		return nil
	case have.First != nil && m.First == nil && m.Serial >= have.First.Over:
		return nil
	}
	return ErrOlder
}

// Same reports whether b is the manifest that m is.
func (m *Manifest) Same(b *Manifest) bool { return string(m.Encode()) == string(b.Encode()) }

// Encode returns m as it is written. It panics on what JSON cannot hold, which no Manifest is.
func (m *Manifest) Encode() []byte {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return text
}

// Decode reads a manifest: strict JSON, as Encode writes it, within the bounds. Errors are
// *policy.InputError with key as their place.
func Decode(key string, text []byte) (*Manifest, error) {
	wrong := func(format string, args ...any) (*Manifest, error) {
		return nil, &policy.InputError{Where: key, What: policy.Printable(fmt.Sprintf(format, args...))}
	}
	if len(text) > MaxManifest {
		return wrong("%d bytes are more than a manifest has, which are at most %d", len(text), MaxManifest)
	}
	m := new(Manifest)
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(m); err != nil {
		var versioned struct{ Version int }
		if json.Unmarshal(text, &versioned) != nil || versioned.Version <= 1 {
			return wrong("is no manifest: %v", err)
		}
		m.Version = versioned.Version // which check refuses: a newer one has more fields
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return wrong("is no manifest: there is more after its end")
	}
	if err := m.check(); err != nil {
		return wrong("%v", err)
	}
	return m, nil
}

var (
	identity = regexp.MustCompile(`^[0-9a-f]{32}$`)
	sum256   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// check says what is wrong in m, whose JSON is well formed.
func (m *Manifest) check() error {
	switch {
	case m.Version > 1:
		return fmt.Errorf("version %d is of a newer xdpallow: upgrade this one", m.Version)
	case m.Version != 1:
		return fmt.Errorf("version %d is not 1", m.Version)
	case !identity.MatchString(m.Fleet):
		return fmt.Errorf("fleet %.40q is not an identity", m.Fleet)
	case m.Serial == 0 || m.Serial >= 1<<53: // what JSON carries exactly everywhere
		return fmt.Errorf("serial %d is none", m.Serial)
	}
	for what, text := range map[string]string{"by": m.By, "command": m.Command, "reason": m.Reason} {
		if err := policy.StoredNote(text); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if m.First != nil {
		if err := policy.ParseName("group", m.First.Group); err != nil {
			return err
		}
		if m.First.Over >= m.Serial {
			return fmt.Errorf("serial %d is not over %d", m.Serial, m.First.Over)
		}
	}
	return errors.Join(m.checkChunks(), m.checkOwners())
}

func (m *Manifest) checkChunks() error {
	entries := 0
	for i, c := range m.Chunks {
		switch {
		case !sum256.MatchString(c.Sum):
			return fmt.Errorf("sum %.70q of a chunk is none", c.Sum)
		case c.Entries < 1 || c.Entries > maxLines:
			return fmt.Errorf("a chunk has from 1 to %d entries, not %d", maxLines, c.Entries)
		case !c.First.IsValid() || c.First != c.First.Masked():
			return fmt.Errorf("first %v of a chunk is no prefix", c.First)
		case i > 0 && policy.ComparePrefix(m.Chunks[i-1].First, c.First) >= 0:
			return fmt.Errorf("chunk %v comes after %v", c.First, m.Chunks[i-1].First)
		}
		entries += c.Entries
	}
	switch {
	case entries != m.Entries:
		return fmt.Errorf("entries is %d, and the chunks have %d", m.Entries, entries)
	case entries > maxEntries:
		return fmt.Errorf("%d entries are more than %d", entries, maxEntries)
	case m.Sum != SumOf(m.Chunks):
		return errors.New("sum is not that of the chunks")
	}
	return m.Delta.check()
}

func (m *Manifest) checkOwners() error {
	seen := map[string]bool{}
	for _, s := range m.Suspended {
		if _, err := ParseSubject(s.Subject); err != nil {
			return err
		}
		if seen[s.Subject] {
			return fmt.Errorf("%s is suspended twice", s.Subject)
		}
		seen[s.Subject] = true
		if err := errors.Join(policy.StoredNote(s.Reason), policy.StoredNote(s.By)); err != nil {
			return fmt.Errorf("suspended %s: %w", s.Subject, err)
		}
	}
	for owner, limit := range m.Limits {
		if err := policy.ParseName("owner", owner); err != nil {
			return err
		}
		if limit.PerSecond <= 0 || limit.Burst == 0 {
			return fmt.Errorf("the limit of %s lets nobody in", owner)
		}
	}
	return nil
}

// ParseSubject reads whom a suspension of a manifest is about: what policy.Subject writes.
func ParseSubject(text string) (policy.Subject, error) {
	if !strings.Contains(text, "/") {
		return policy.Subject{Owner: text}, policy.ParseName("owner", text)
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix != prefix.Masked() || prefix.String() != text {
		return policy.Subject{}, fmt.Errorf("suspended %.64q is neither an owner nor a prefix", text)
	}
	return policy.Subject{Prefix: prefix}, nil
}

// SumOf is the sum of a list: of the sums of its chunks, each with a line's end.
func SumOf(chunks []Chunk) string {
	hash := sha256.New()
	for _, c := range chunks {
		hash.Write(append([]byte(c.Sum), '\n'))
	}
	return hex.EncodeToString(hash.Sum(nil))
}
