package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"time"
)

//go:embed page
var pages embed.FS

const (
	// gridEvery is how often the page hears of new calls.
	gridEvery = 200 * time.Millisecond
	// gridReaders bounds the pages that are open.
	gridReaders = 20
)

// A grid is the page that shows each call as a cell, and has switches for trouble.
type grid struct {
	url      string
	switches *switches
	seen     *ring
	http     *http.Server
	lis      net.Listener
	life     context.Context //nolint:containedctx // of the pages that are open
	cancel   context.CancelFunc
	wait     sync.WaitGroup
	readers  chan struct{} // a place for each
}

// openGrid serves the page on a port of this machine's, until Close.
func openGrid(stage *stage, seen *ring) (*grid, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &grid{
		url: "http://" + lis.Addr().String(), lis: lis, seen: seen,
		switches: &switches{stage: stage}, readers: make(chan struct{}, gridReaders),
	}
	g.life, g.cancel = context.WithCancel(context.Background())
	files, err := fs.Sub(pages, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /calls", g.calls)
	mux.HandleFunc("POST /switch/{name}/{value}", g.turn)
	mux.HandleFunc("GET /dashboard", g.dashboard)
	g.http = &http.Server{
		Handler:           g.guard(http.NewCrossOriginProtection().Handler(mux)),
		ReadHeaderTimeout: 5 * time.Second,
	}
	g.wait.Go(func() { _ = g.http.Serve(lis) }) // until Close
	return g, nil
}

// Close ends the page.
func (g *grid) Close() error {
	g.cancel()
	err := g.http.Close()
	g.wait.Wait()
	return err
}

// guard lets nobody in who was led here by another name, and nothing from elsewhere
// onto the page.
func (g *grid) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != g.lis.Addr().String() {
			http.Error(w, "this page is at "+g.url, http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// A frame is what the page hears at a time.
type frame struct {
	Cells    []cell      `json:"cells"`
	Switches switchState `json:"switches"`
	Happened []line      `json:"happened"`
}

// calls streams frames as server-sent events.
func (g *grid) calls(w http.ResponseWriter, r *http.Request) {
	select {
	case g.readers <- struct{}{}:
		defer func() { <-g.readers }()
	default:
		http.Error(w, "too many of these pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	tick := time.NewTicker(gridEvery)
	defer tick.Stop()
	for next := int64(0); ; {
		f := frame{Cells: g.seen.since(next)}
		f.Switches, f.Happened = g.switches.look()
		if n := len(f.Cells); n > 0 {
			next = f.Cells[n-1].Number + 1
		}
		data, err := json.Marshal(f)
		if err != nil {
			return
		}
		_ = control.SetWriteDeadline(time.Now().Add(5 * time.Second)) // it is a net.Conn, which takes one
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil || control.Flush() != nil {
			return // the page is gone
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-g.life.Done():
			return
		}
	}
}

func (g *grid) turn(w http.ResponseWriter, r *http.Request) {
	if err := g.switches.turn(r.Context(), r.PathValue("name"), r.PathValue("value")); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// dashboard leads to the dashboard, which every time takes a new address.
func (g *grid) dashboard(w http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "same-origin" && site != "none" {
		http.Error(w, "open this from "+g.url, http.StatusForbidden)
		return
	}
	url, err := g.switches.stage.server.dashboard(r.Context())
	if err != nil {
		http.Error(w, errors.Join(errors.New("xdsserver does not answer: is it killed?"), err).Error(), http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, url, http.StatusSeeOther)
}
