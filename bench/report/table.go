package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// Write shows the report to people: the figures first, each by its budget if it has one.
func (r *Report) Write(w io.Writer, budgets Budgets) error {
	t := &text{w: w}
	t.printf("%s\n%d cores of %s, %d GB, %s (kernel %s), %s\n",
		r.Command, r.Machine.Cores, r.Machine.CPU, r.Machine.MemoryGB, r.Machine.System, r.Machine.Kernel, r.Machine.Go)
	for _, name := range sorted(r.Machine.Versions) {
		t.printf("%s %s\n", name, r.Machine.Versions[name])
	}
	if len(r.Figures) > 0 {
		t.printf("\n")
		t.figures(r.Figures, budgets)
	}
	for i := range r.Tables {
		t.printf("\n")
		t.table(&r.Tables[i])
	}
	for i, note := range r.Notes {
		if i == 0 {
			t.printf("\nNot measured:\n")
		}
		t.printf("  %s\n", note)
	}
	t.printf("\n%.0f s, medians of interleaved rounds; the middle half of the rounds in brackets.\n", r.Seconds)
	return t.err
}

type text struct {
	w   io.Writer
	err error
}

func (t *text) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *text) figures(figures []Figure, budgets Budgets) {
	rows := make([][]string, 1, 1+len(figures))
	rows[0] = []string{"FIGURE", "VALUE", "", "BUDGET", "GOAL", ""}
	for _, f := range figures {
		b, verdict := budgets[f.Key], ""
		if b.Limit != 0 {
			verdict = b.verdict(f.Value.Median)
		}
		rows = append(rows, []string{f.Name, number(f.Value.Median, 2, f.Unit), bracket(f.Value, 2), b.show(b.Limit, f.Unit), b.show(b.Goal, f.Unit), verdict})
	}
	t.grid(rows)
}

func (t *text) table(table *Table) {
	t.printf("%s\n", table.Title)
	if table.Note != "" {
		t.printf("%s\n", table.Note)
	}
	head := []string{""}
	for _, c := range table.Columns {
		name := c.Name
		if c.Unit != "" {
			name += " " + c.Unit
		}
		if head = append(head, name); c.Spread {
			head = append(head, "")
		}
	}
	rows := make([][]string, 1, 1+len(table.Rows))
	rows[0] = head
	for _, row := range table.Rows {
		line := []string{row.Name}
		for i, c := range table.Columns {
			var cell *Spread
			if i < len(row.Cells) {
				cell = row.Cells[i]
			}
			value, spread := "-", ""
			if cell != nil {
				value, spread = number(cell.Median, c.Digits, ""), bracket(*cell, c.Digits)
			}
			if line = append(line, value); c.Spread {
				line = append(line, spread)
			}
		}
		rows = append(rows, line)
	}
	t.grid(rows)
}

// grid lines rows up: the first column to the left, numbers to the right.
func (t *text) grid(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	w := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		line := make([]string, len(row))
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if line[i] = pad + cell; i == 0 {
				line[i] = cell + pad
			}
		}
		if t.err == nil {
			_, t.err = fmt.Fprintln(w, strings.TrimRight(strings.Join(line, "\t"), " \t"))
		}
	}
	if t.err == nil {
		t.err = w.Flush()
	}
}

func number(v float64, digits int, unit string) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if s = whole; fraction != "" {
		s += "." + fraction
	}
	if unit != "" {
		s += " " + unit
	}
	return s
}

func bracket(s Spread, digits int) string {
	if s.Rounds < 2 {
		return ""
	}
	return "(" + number(s.Low, digits, "") + "-" + number(s.High, digits, "") + ")"
}
