package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// A Budget is what a figure must keep to.
type Budget struct {
	// Limit is the least or the most, as Sense says; Goal is what comes after that. Guard
	// is what a run on a busy machine must keep to: the limit where it is zero.
	Limit float64 `json:"limit"`
	Goal  float64 `json:"goal,omitempty"`
	Guard float64 `json:"guard,omitempty"`
	// Sense is "least" or "most".
	Sense string `json:"sense"`
}

// Budgets are by the key of their figure.
type Budgets map[string]Budget

// ReadBudgets reads a file such as bench/budgets.json.
func ReadBudgets(path string) (Budgets, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var b Budgets
	if err := decoder.Decode(&b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for key, budget := range b {
		if budget.Sense != "least" && budget.Sense != "most" {
			return nil, fmt.Errorf("%s: %s: sense %q, want least or most", path, key, budget.Sense)
		}
	}
	return b, nil
}

func (b Budget) holds(v, limit float64) bool {
	if b.Sense == "least" {
		return v >= limit
	}
	return v <= limit
}

func (b Budget) verdict(v float64) string {
	switch {
	case !b.holds(v, b.Limit):
		return "MISSED"
	case b.Goal != 0 && b.holds(v, b.Goal):
		return "goal"
	default:
		return "held"
	}
}

func (b Budget) show(limit float64, unit string) string {
	if b.Sense == "" || limit == 0 && b.Limit != 0 && b.Goal == 0 {
		return ""
	}
	sign := map[string]string{"least": ">= ", "most": "<= "}[b.Sense]
	return sign + number(limit, 2, unit)
}

// Check returns an error that lists each figure outside of its guard, and each budget
// whose figure the run was to measure, by want, and has not.
func (b Budgets) Check(figures []Figure, want func(key string) bool) error {
	measured := make(map[string]float64, len(figures))
	for _, f := range figures {
		measured[f.Key] = f.Value.Median
	}
	var all []error
	for _, key := range slices.Sorted(maps.Keys(b)) {
		budget := b[key]
		limit := budget.Guard
		if limit == 0 {
			limit = budget.Limit
		}
		v, ok := measured[key]
		switch {
		case !ok && want(key):
			all = append(all, fmt.Errorf("%s was not measured", key))
		case ok && !budget.holds(v, limit):
			all = append(all, fmt.Errorf("%s is %.3g, and must be at %s %.3g", key, v, budget.Sense, limit))
		}
	}
	return errors.Join(all...)
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
