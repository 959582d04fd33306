package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A list lines up rows under an indentation. Unlike a table's, its cells may be
// empty, and a text may stand under a row without breaking the columns.
type list struct {
	w      io.Writer
	indent string
	lines  []listLine
}

type listLine struct {
	cells []string
	text  string // in place of cells
}

func newList(w io.Writer, indent int) *list {
	return &list{w: w, indent: strings.Repeat(" ", indent)}
}

func (l *list) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	l.lines = append(l.lines, listLine{cells: cells})
}

// below puts a text under the row before it.
func (l *list) below(text string) { l.lines = append(l.lines, listLine{text: "  " + printable(text)}) }

func (l *list) flush() error {
	var widths []int
	for _, line := range l.lines {
		for i, c := range line.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, line := range l.lines {
		var b strings.Builder
		b.WriteString(l.indent + line.text)
		for i, c := range line.cells {
			b.WriteString(c + strings.Repeat(" ", 3+widths[i]-utf8.RuneCountInString(c)))
		}
		if _, err := fmt.Fprintln(l.w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
