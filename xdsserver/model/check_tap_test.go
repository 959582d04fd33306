package model

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatTapsLeaveOutIsChecked(t *testing.T) {
	many := make([]string, maxRedacted+1)
	for i := range many {
		many[i] = fmt.Sprint("f", i)
	}
	for name, test := range map[string]struct {
		redact []string
		want   string // empty for nothing
	}{
		"names of all kinds": {[]string{"shop.v1.Card.number", "cvc", "x-iban", "Number_2"}, ""},
		"an empty one":       {[]string{"a", ""}, "spec.tap.redact[1]"},
		"one that moves":     {[]string{"a\x1b[2J"}, "spec.tap.redact[0]"},
		"a pattern":          {[]string{"shop.*"}, "spec.tap.redact[0]"},
		"a long one":         {[]string{strings.Repeat("x", 300)}, "spec.tap.redact[0]"},
		"too many":           {many, "spec.tap.redact has 257"},
	} {
		t.Run(name, func(t *testing.T) {
			set := Validate([]Object{&Mesh{Name: DefaultMesh, From: "f:1", TapRedact: test.redact}}, nil, nil)
			got := ""
			for _, p := range set.Problems {
				got += p.Field + " " + p.Message
			}
			if test.want == "" && got != "" || !strings.Contains(got, test.want) || test.want != "" && !set.Mesh.Closed {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
