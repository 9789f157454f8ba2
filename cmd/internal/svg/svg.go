// Package svg writes the pictures of the README: shapes and words on a white sheet, in one look.
package svg

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The colours of words and of the grid.
const (
	Ink     = "#1f2328"
	PaleInk = "#57606a"
	gridInk = "#d8dee4"
)

// Width is that of every sheet, in the units of its coordinates.
const Width = 930

// Manners of text: where it stands to its point, and its weight. What is at a scale is small.
const (
	Right  = ` text-anchor="end"`
	Bold   = ` font-weight="600"`
	small  = ` font-size="11"`
	Below  = small + ` text-anchor="middle"`
	Beside = small + Right
)

// Sheet is a picture that is being drawn. The zero value is an empty one.
type Sheet struct{ shapes strings.Builder }

// Text writes text at a point, in one of the manners that are constants here; "" is plain.
func (s *Sheet) Text(x, y float64, manner, ink, text string) {
	fmt.Fprintf(&s.shapes, "<text x=\"%s\" y=\"%s\"%s fill=\"%s\">%s</text>\n", number(x), number(y), manner, ink, text)
}

// Bar draws a rectangle with round corners.
func (s *Sheet) Bar(x, y, width, height float64, ink string) {
	fmt.Fprintf(&s.shapes, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" rx=\"3\" fill=\"%s\"/>\n", number(x), number(y), number(width), number(height), ink)
}

// Grid draws a line of the grid, which goes from a point by that much to the right and down.
func (s *Sheet) Grid(x, y, right, down float64) {
	fmt.Fprintf(&s.shapes, "<path d=\"M%s %sl%s %s\" stroke=\"%s\"/>\n", number(x), number(y), number(right), number(down), gridInk)
}

// Area fills what lies between points, x and y in turns.
func (s *Sheet) Area(ink string, points ...float64) {
	fmt.Fprintf(&s.shapes, "<path fill=\"%s\" fill-opacity=\"0.55\" stroke=\"%s\" d=\"M", ink, ink)
	for _, p := range points {
		s.shapes.WriteString(number(p) + " ")
	}
	s.shapes.WriteString("z\"/>\n")
}

// Picture returns the sheet as a file of that height. title is for who cannot see it, heading stands
// above what was drawn.
func (s *Sheet) Picture(height float64, title, heading string) []byte {
	var head Sheet
	head.Text(24, 34, ` font-size="16"`+Bold, Ink, heading)
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %s" font-family="ui-sans-serif, system-ui, sans-serif" font-size="13">
<title>%s</title>
<rect width="%d" height="%s" rx="8" fill="#ffffff"/>
%s%s</svg>
`, Width, number(height), title, Width, number(height), head.shapes.String(), s.shapes.String())
}

// number writes a coordinate, to a tenth.
func number(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }
