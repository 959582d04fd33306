package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		sample Sample
		want   Spread
	}{
		{nil, Spread{}},
		{Sample{3}, Spread{3, 3, 3, 1}},
		{Sample{4, 1}, Spread{2.5, 1.75, 3.25, 2}},
		{Sample{5, 1, 4, 2, 3}, Spread{3, 2, 4, 5}},
	} {
		if got := tt.sample.Spread(); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.sample, got, tt.want)
		}
	}
}

func TestRatiosAreOfRounds(t *testing.T) {
	got := Sample{2, 9, 6, 1}.Over(Sample{1, 0, 3})
	if len(got) != 2 || got[0] != 2 || got[1] != 2 {
		t.Errorf("got %v, want 2 twice: a round whose divisor is nothing has no ratio", got)
	}
	if got := (Sample{2, 9}).Less(Sample{1, 10}); len(got) != 2 || got[0] != 1 || got[1] != -1 {
		t.Errorf("got %v", got)
	}
}

func TestTableLinesUp(t *testing.T) {
	table := Table{Title: "T", Columns: []Column{{Name: "calls/s"}, {Name: "ratio", Digits: 2, Spread: true}}}
	table.Add("plain", Sample{41234}, Sample{1})
	table.Add("µ-mesh", nil, Sample{0.9, 1.1})
	r := Report{Command: "go run ./bench", Tables: []Table{table}, Notes: []string{"nothing"}, Figures: []Figure{
		{Key: "a", Name: "first", Value: Spread{0.9, 0.8, 1, 3}},
		{Key: "b", Name: "second", Unit: "KB", Value: Spread{Median: 1234.5, Rounds: 1}},
		{Key: "c", Name: "without a budget", Value: Spread{Median: 2, Rounds: 1}},
	}}
	var b strings.Builder
	if err := r.Write(&b, Budgets{"a": {Sense: "least", Limit: 0.96, Goal: 0.99}, "b": {Sense: "most", Limit: 2000, Goal: 1300}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"first                 0.90  (0.80-1.00)     >= 0.96     >= 0.99  MISSED\n",
		"second            1,234.50 KB                  <= 2,000.00 KB  <= 1,300.00 KB    goal\n",
		"        calls/s  ratio\nplain    41,234   1.00\nµ-mesh        -   1.00  (0.95-1.05)\n",
		"Not measured:\n  nothing\n",
	} {
		if squeeze(want) != "" && !strings.Contains(squeeze(b.String()), squeeze(want)) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
	// What stands in one column begins, or ends, at one place.
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "plain") {
			if at, other := strings.Index(line, "41,234")+6, strings.Index(lines[i-1], "calls/s")+7; at != other {
				t.Errorf("the number ends at %d and its head at %d\n%s\n%s", at, other, lines[i-1], line)
			}
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestBudgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "budgets.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"a": {"sense": "least", "limit": 0.96, "goal": 0.99, "guard": 0.9}, "b": {"sense": "most", "limit": 8}, "c": {"sense": "most", "limit": 1}}`)
	b, err := ReadBudgets(path)
	if err != nil {
		t.Fatal(err)
	}
	figure := func(key string, v float64) Figure { return Figure{Key: key, Value: Spread{Median: v, Rounds: 1}} }
	measured := func(key string) bool { return key != "c" }
	for _, tt := range []struct {
		name    string
		figures []Figure
		want    string
	}{
		{"all hold, by the guard where there is one", []Figure{figure("a", 0.91), figure("b", 8)}, ""},
		{"one is outside", []Figure{figure("a", 0.89), figure("b", 8)}, "a is 0.89, and must be at least 0.9"},
		{"one is outside without a guard", []Figure{figure("a", 1), figure("b", 8.1)}, "b is 8.1, and must be at most 8"},
		{"one was not measured", []Figure{figure("a", 1)}, "b was not measured"},
		{"no number holds nothing", []Figure{figure("a", math.NaN()), figure("b", 1)}, "a is NaN, and must be at least 0.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := b.Check(tt.figures, measured)
			if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	for text, want := range map[string]string{
		`{"a": {"sense": "about", "limit": 1}}`:     `a: sense "about", want least or most`,
		`{"a": {"sens": "least"}}`:                  "unknown field",
		`{"a": {"sense": "least", "limit": "few"}}`: "cannot unmarshal",
	} {
		write(text)
		if _, err := ReadBudgets(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestChartsAreSVG(t *testing.T) {
	for _, c := range []Chart{
		{Title: "bars & <more>", Unit: "us", Labels: []string{"a", "b"}, Series: []Series{{Name: "client", Values: []float64{1, 2}}, {Name: "server", Values: []float64{0, 3}}}},
		{Title: "nothing", Labels: []string{"a"}, Series: []Series{{Name: "x", Values: []float64{0}}}},
		{Title: "lines", Unit: "ms", XName: "streams", X: []float64{10, 100}, Series: []Series{{Name: "a", Values: []float64{0.1, 12}}, {Name: "b", Values: []float64{0, 1}}}},
		{Title: "no lines", X: []float64{1}, Series: []Series{{Name: "a", Values: []float64{0}}}},
	} {
		var b strings.Builder
		if err := c.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s: holds what is no number:\n%s", c.Title, b.String())
		}
		d := xml.NewDecoder(strings.NewReader(b.String()))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", c.Title, err, b.String())
			}
		}
	}
}
