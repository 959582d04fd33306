package cli

import (
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"
)

// Columns are a table of numbers: texts to the left, numbers to the right, three spaces
// apart, as Linkerd has them. Cells may be empty.
type columns struct {
	header []string
	// texts is how many columns come first that are texts; more are those after the numbers.
	texts, more int
	rows        [][]string
	// style paints a padded cell; rows count from 0, the header is -1. Nil paints nothing.
	style func(row, column int, padded string) string
}

// newColumns has the columns of header, the first texts and the last more of which are
// texts.
func newColumns(texts, more int, header ...string) *columns {
	return &columns{header: header, texts: texts, more: more}
}

// row adds a row; what is not known is a dash.
func (c *columns) row(cells ...string) {
	for i := range cells {
		cells[i] = orDash(cells[i])
	}
	c.part(cells...)
}

// part adds a row that may have empty cells, and fewer of them.
func (c *columns) part(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	c.rows = append(c.rows, cells)
}

// lines are the table's; the first is the header.
func (c *columns) lines() []string {
	widths := make([]int, len(c.header))
	all := append([][]string{c.header}, c.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	lines := make([]string, 0, len(all))
	for n, row := range all {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-lipgloss.Width(cell))
			if i > 0 {
				b.WriteString("   ")
			}
			if i < c.texts || i >= len(c.header)-c.more {
				cell += pad
			} else {
				cell = pad + cell
			}
			if c.style != nil {
				cell = c.style(n-1, i, cell)
			}
			b.WriteString(cell)
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

func (c *columns) flush(w io.Writer) error {
	_, err := fmt.Fprintln(w, strings.Join(c.lines(), "\n"))
	return err
}
