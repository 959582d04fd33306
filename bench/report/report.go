package report

import "time"

// A Report is one run of the benchmark.
type Report struct {
	// Command is how to run it again.
	Command string    `json:"command"`
	Machine Machine   `json:"machine"`
	Began   time.Time `json:"began"`
	// Seconds is how long it took, without building.
	Seconds float64  `json:"seconds"`
	Figures []Figure `json:"figures"`
	Tables  []Table  `json:"tables"`
	Charts  []Chart  `json:"charts"`
	// Notes say what was not measured, and why.
	Notes []string `json:"notes"`
}

// A Figure is one that a budget may stand for: a ratio within the run, as a rule.
type Figure struct {
	// Key is what budgets.json calls it, such as "data.throughput".
	Key string `json:"key"`
	// Name says what it is to people.
	Name string `json:"name"`
	// Unit is empty for a ratio.
	Unit  string `json:"unit,omitempty"`
	Value Spread `json:"value"`
}

// A Table has one row for each thing that is compared, and one column for each figure.
type Table struct {
	Title string `json:"title"`
	// Note says in a sentence or two how it was measured.
	Note    string   `json:"note,omitempty"`
	Columns []Column `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// A Column is a figure of a Table.
type Column struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	// Digits are those after the point.
	Digits int `json:"-"`
	// Spread shows the quartiles beside the median.
	Spread bool `json:"-"`
}

// A Row is one thing that is compared. A nil cell was not measured.
type Row struct {
	Name  string    `json:"name"`
	Cells []*Spread `json:"cells"`
}

// Add appends a row of one sample for each column; an empty sample was not measured.
func (t *Table) Add(name string, samples ...Sample) {
	row := Row{Name: name}
	for _, s := range samples {
		if len(s) == 0 {
			row.Cells = append(row.Cells, nil)
			continue
		}
		spread := s.Spread()
		row.Cells = append(row.Cells, &spread)
	}
	t.Rows = append(t.Rows, row)
}

// A Chart is drawn as bars, one for each label, or, where X is set, as lines over X.
type Chart struct {
	// File is its name without the ending, such as "data-cpu".
	File  string `json:"file"`
	Title string `json:"title"`
	// Unit is that of the values; XName and X are of lines alone.
	Unit   string    `json:"unit"`
	Labels []string  `json:"labels,omitempty"`
	XName  string    `json:"xName,omitempty"`
	X      []float64 `json:"x,omitempty"`
	Series []Series  `json:"series"`
}

// Series are the values of one colour, in order of Labels or X. NaN is no value; JSON has
// none of those, so that series with gaps leave X out instead.
type Series struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
}
