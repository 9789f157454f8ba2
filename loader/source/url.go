// This file follows a list that a web server has, so that a change there reaches this host
// without a command.

package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const (
	answersWithin = 10 * time.Second // connecting and the whole page
	largestPage   = 8 << 20          // in bytes, unpacked
	mostRedirects = 3
)

// page follows a URL.
type page struct {
	settings Settings
	kick     chan struct{}
	patience time.Duration // answersWithin, but in tests

	// What is known of the last page that was read as a whole.
	etag string
	sum  string // of its claims; "" means that they are handed on even if they are the same
	bad  error  // why it is no list that may be taken over

	refused bool      // take refused it
	ends    time.Time // of the claims that take took over last, with settings.Stale
}

func (p *page) Origin() policy.Origin { return p.settings.Origin() }

func (p *page) Kick() { kick(p.kick) }

// Follow is that of Follower. A page that does not change is not handed on again, unless its
// claims would end soon. The first page always is: settings may have changed meanwhile.
func (p *page) Follow(ctx context.Context, have Have, take func(context.Context, Reading) error) {
	p.recall(have.Claims)
	poll(ctx, p.settings.Every, p.kick, func(ctx context.Context, kicked bool) (time.Duration, bool) {
		return p.look(ctx, kicked, take)
	})
}

// recall finds when the claims of an earlier daemon end, so that a restart moves nothing. A line
// can end earlier by itself.
func (p *page) recall(claims []policy.Claim) {
	for _, c := range claims {
		if c.Until.IsZero() {
			p.ends = time.Time{}
			return
		}
		if c.Until.After(p.ends) {
			p.ends = c.Until
		}
	}
}

func (p *page) look(ctx context.Context, kicked bool, take func(context.Context, Reading) error) (after time.Duration, failed bool) {
	now := time.Now()
	ends := p.settings.end(p.ends, now)
	if kicked || !p.refused && !ends.Equal(p.ends) {
		p.etag, p.sum = "", ""
	}
	answer, err := p.get(ctx)
	if ctx.Err() != nil {
		return 0, true
	}
	if err != nil {
		_ = take(ctx, Reading{Origin: p.Origin(), Err: err})
		return answer.after, true
	}
	if answer.unchanged {
		p.confirm(ctx, take)
		return 0, false
	}
	claims, warnings, err := p.parse(answer.text)
	if p.etag, p.bad = answer.etag, err; err != nil {
		p.sum, p.refused = "", false
		_ = take(ctx, Reading{Origin: p.Origin(), Err: err, Warnings: warnings})
		return 0, false
	}
	sum := sumOf(claims)
	if sum == p.sum {
		p.confirm(ctx, take)
		return 0, false
	}
	for i := range claims {
		claims[i].Until = policy.Earliest(claims[i].Until, ends)
	}
	err = take(ctx, Reading{Origin: p.Origin(), Claims: claims, Mark: answer.etag, Sum: sum, Why: "read " + p.name(), Warnings: warnings})
	p.sum, p.refused = sum, isRefusal(err)
	if err == nil {
		p.ends = ends
	} else if !p.refused { // it was not the page: try again
		p.etag, p.sum = "", ""
		return 0, true
	}
	return 0, false
}

// confirm says that the last page is still there.
func (p *page) confirm(ctx context.Context, take func(context.Context, Reading) error) {
	if p.bad != nil {
		_ = take(ctx, Reading{Origin: p.Origin(), Err: p.bad})
	} else if !p.refused {
		_ = take(ctx, Reading{Origin: p.Origin(), Edit: &policy.Edit{}, Mark: p.etag, Sum: p.sum})
	}
}

// parse returns the claims of a page, sorted, as the settings let them be. Errors are
// *policy.InputError, with the page and the line.
func (p *page) parse(text []byte) (claims []policy.Claim, warnings []string, err error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	name, begin := p.name(), bytes.TrimLeft(text, " \t\r\n")
	wrong := func(what string) error { return &policy.InputError{Where: name, What: what} }
	var encoding *policy.InputError
	switch isJSON := bytes.HasPrefix(begin, []byte("{")) || bytes.HasPrefix(begin, []byte("[")); {
	case errors.As(policy.CheckUTF8(name, text), &encoding):
		return nil, nil, wrong(encoding.What)
	case bytes.HasPrefix(begin, []byte("<")):
		return nil, nil, wrong("is a page of HTML or XML, not a list: perhaps of a login or of an error")
	case p.settings.JSON != nil:
		claims, err = p.settings.JSON.parse(name, p.Origin(), text)
	case isJSON:
		return nil, nil, wrong("is JSON: it needs format: json")
	default:
		claims, warnings, err = policy.ParseList(name, p.Origin(), bytes.NewReader(text))
	}
	if err != nil {
		return nil, nil, firstOf(err)
	}
	for i := range claims {
		if err := p.settings.claim(&claims[i]); err != nil {
			return nil, nil, err
		}
	}
	if err := p.settings.Limits.Check(name, claims); err != nil {
		return nil, nil, err
	}
	for i := range claims {
		claims[i].Where = "" // it is kept, and the line may be another one by then
	}
	slices.SortFunc(claims, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return claims, warnings, nil
}

// name is how messages call the page: without its query, which may hold a secret.
func (p *page) name() string {
	before, _, found := strings.Cut(p.settings.URL, "?")
	if found {
		return before + "?…"
	}
	return before
}

// firstOf returns the first of joined errors, and how many more there are: one is enough to refuse a reading.
func firstOf(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	all := joined.Unwrap()
	first, ok := errors.AsType[*policy.InputError](all[0])
	if !ok || len(all) == 1 {
		return all[0]
	}
	return &policy.InputError{Where: first.Where, What: fmt.Sprintf("%s (and %d more)", first.What, len(all)-1), Hint: first.Hint}
}

// sumOf is the same for the same sorted claims.
func sumOf(claims []policy.Claim) string {
	hash := sha256.New()
	var line []byte
	for _, c := range claims {
		line = append(policy.AppendLine(line[:0], c), '\n')
		hash.Write(line)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
