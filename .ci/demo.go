//go:build ignore

// Command demo reads what `go run ./examples/demo --requests 1000 -o json`
// prints and ends with an error unless it is one JSON object that adds up, in
// which only the method that fails on purpose has failures.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	requests = 1000
	// onPurpose is the method of the tour that always fails.
	onPurpose = "VoteDoughnut"
)

type result struct {
	Requests int    `json:"requests"`
	OK       int    `json:"ok"`
	Failed   int    `json:"failed"`
	Calls    []call `json:"calls"`
}

type call struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Method      string `json:"method"`
	Version     string `json:"version"`
	Count       int    `json:"count"`
	OK          int    `json:"ok"`
}

func main() {
	if err := check(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	fmt.Println("demo: only what must fail failed")
}

func check(in io.Reader) error {
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	var r result
	if err := dec.Decode(&r); err != nil {
		return fmt.Errorf("output is not the JSON object that the README shows: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("output goes on after the JSON object")
	}
	if r.Requests != requests || r.OK+r.Failed != requests {
		return fmt.Errorf("asked for %d requests: %d ok and %d failed of %d", requests, r.OK, r.Failed, r.Requests)
	}
	failedOnPurpose := 0
	for _, c := range r.Calls {
		failed := c.Count - c.OK
		switch {
		case c.Source == "" || c.Destination == "" || c.Method == "" || c.Count <= 0 || failed < 0:
			return fmt.Errorf("call is not complete: %+v", c)
		case c.Method == onPurpose && c.OK > 0:
			return fmt.Errorf("%s must fail and did not: %+v", onPurpose, c)
		case c.Method != onPurpose && failed > 0:
			return fmt.Errorf("%d calls failed that must not: %+v", failed, c)
		}
		if c.Source == "traffic" {
			failedOnPurpose += failed
		}
	}
	if failedOnPurpose == 0 || failedOnPurpose != r.Failed {
		return fmt.Errorf("%d requests failed, %d of them on purpose", r.Failed, failedOnPurpose)
	}
	return nil
}
