package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// A display shows the calls while they happen, or once at the end.
type display struct {
	json  bool
	admin string // where the commands find the server
	grid  string // the address of the page
	calls func() []call
	began time.Time
	quit  chan struct{}
	wait  sync.WaitGroup
}

func newDisplay(format, admin, grid string, calls func() []call) *display {
	return &display{json: format == "json", admin: admin, grid: grid, calls: calls, began: time.Now(), quit: make(chan struct{})}
}

// start draws the table every second on a terminal, and every ten elsewhere.
func (d *display) start() {
	if d.json {
		return
	}
	every, home := 10*time.Second, ""
	if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		every, home = time.Second, "\x1b[H\x1b[2J"
	}
	d.wait.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-d.quit:
				return
			case <-tick.C:
				fmt.Printf("%s%s\nCtrl-C stops everything. Meanwhile: %s and, elsewhere, TULLE_ADMIN=%s go run ./xdsserver stat\n",
					home, d.table(), d.grid, d.admin)
			}
		}
	})
}

func (d *display) stop() {
	close(d.quit)
	d.wait.Wait()
}

// table is who calls whom, with Linkerd's columns.
func (d *display) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tDESTINATION\tMETHOD\tVERSION\tCALLS\tSUCCESS\tRPS\tP50\tP99")
	elapsed := time.Since(d.began).Seconds()
	for _, c := range d.calls() {
		version := c.Version
		if version == "" {
			version = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%.2f%%\t%.1f\t%s\t%s\n", c.Source, c.Destination, c.Method, version,
			c.Count, 100*float64(c.OK)/float64(c.Count), float64(c.Count)/elapsed, brief(c.percentile(.5)), brief(c.percentile(.99)))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// brief is an upper bound, so it says so.
func brief(d time.Duration) string {
	if d < time.Millisecond {
		return "<1ms"
	}
	return fmt.Sprintf("<%dms", (d + time.Millisecond - 1).Milliseconds())
}

// resultCall is a row of the result for programs.
type resultCall struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Method      string `json:"method"`
	Version     string `json:"version"`
	Count       int64  `json:"count"`
	OK          int64  `json:"ok"`
}

// result prints the outcome of all requests.
func (d *display) result(ok, failed int64) error {
	if !d.json {
		fmt.Printf("\n%s\n%d requests: %d ok, %d failed; VoteDoughnut fails on purpose.\n", d.table(), ok+failed, ok, failed)
		return nil
	}
	rows := []resultCall{}
	for _, c := range d.calls() {
		rows = append(rows, resultCall{c.Source, c.Destination, c.Method, c.Version, c.Count, c.OK})
	}
	return json.NewEncoder(os.Stdout).Encode(struct {
		Requests int64        `json:"requests"`
		OK       int64        `json:"ok"`
		Failed   int64        `json:"failed"`
		Calls    []resultCall `json:"calls"`
	}{ok + failed, ok, failed, rows})
}
