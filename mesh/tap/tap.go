// Package tap lets an operator watch the calls of a process, live: what was called,
// how it went, which endpoint was chosen and why and, where he may see them, the
// messages. Nothing of it is on until somebody asks, and then for a while.
//
//	taps := tap.New(tap.Config{Service: "web", Instance: "a1"})
//	go taps.Run(ctx, conn)       // reports to xdsserver
//	taps.Set(commands.Taps)      // as xdsserver says, again after each change
//
//	// in an interceptor
//	var w *tap.Watch
//	if set := taps.Active(); set != nil {
//		w = set.Match(tap.Call{Side: tap.Client, Peer: "voting", Method: method, Metadata: md})
//	}
//	w.Request(req)
//	err := invoke()
//	w.Response(reply)
//	w.End(tap.Facts{Start: start, Took: took, Endpoint: address, Err: err})
//
// A process that nobody taps pays one atomic load for a call. One that is tapped pays
// for the calls that match, at most as many a second as the tap asks for. Events wait in
// a queue of a bounded size, and are dropped and counted where it is full: nothing here
// makes a call wait, and while xdsserver does not take reports, nobody is tapped.
//
// Secrets do not leave the process: values of metadata that are secrets by their key,
// fields of messages with the option debug_redact or the name of a secret, and what the
// operator named are taken out before anything is written down.
//
// The package does not decide who may tap; xdsserver does, and tells the process.
package tap

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// longest is how long a tap may be open, whatever it says of its end: the clock that
// made that is not this machine's.
const longest = time.Hour + time.Minute

// A Side is that of a call on which a process stands.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
)

// String returns "client" or "server".
func (s Side) String() string {
	if s == Server {
		return "server"
	}
	return "client"
}

// Config is what a process says of itself.
type Config struct {
	// Service is the process's own, "name" or "name.namespace".
	Service string
	// Instance tells it from others of its service.
	Instance string
	// Logger is told when reports begin to fail and when they work again; nil means
	// slog.Default().
	Logger *slog.Logger
}

// Taps are those that are open in a process. It is safe for concurrent use.
type Taps struct {
	// Immutable after New.
	config Config
	queue  queue
	wake   chan struct{} // has room for one: that Run has something to look at

	calls atomic.Uint64
	set   atomic.Pointer[Set]

	mu     sync.Mutex // held for bookkeeping only
	open   []*opened
	paused bool // nobody takes reports
}

// New returns a Taps that nobody has opened yet. The caller runs it; see [Taps.Run].
func New(c Config) *Taps {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Taps{config: c, wake: make(chan struct{}, 1)}
}

// Active returns the taps that are open now, nil where there are none. It is one
// atomic load.
func (t *Taps) Active() *Set { return t.set.Load() }

// Set makes taps the ones that are open, but for those that are over or ask another
// instance. One that was open before, with the same id, goes on with its counts.
func (t *Taps) Set(taps []resource.Tap) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	open := make([]*opened, 0, len(taps))
	for i := range taps {
		if !t.asked(&taps[i]) {
			continue
		}
		known := slices.IndexFunc(t.open, func(o *opened) bool { return o.spec.ID == taps[i].ID })
		var before *opened
		if known >= 0 {
			before = t.open[known]
		}
		open = append(open, newOpened(&taps[i], before, now))
	}
	t.open = open
	t.publish(now)
	t.poke()
}

// asked reports whether a tap asks this process. A process with several endpoints has
// names for the others, made from its own.
func (t *Taps) asked(tap *resource.Tap) bool {
	return tap.Instance == "" || tap.Instance == t.config.Instance ||
		t.config.Instance != "" && strings.HasPrefix(tap.Instance, t.config.Instance+"-")
}

// publish makes what is open the active set, and returns when the first of it is over;
// zero means never. mu is held.
func (t *Taps) publish(now time.Time) (next time.Time) {
	t.open = slices.DeleteFunc(t.open, func(o *opened) bool { return !now.Before(o.until) })
	if len(t.open) == 0 || t.paused {
		t.set.Store(nil)
	} else {
		t.set.Store(&Set{taps: t, open: slices.Clone(t.open), redaction: newRedaction(t.open)})
	}
	for _, o := range t.open {
		if next.IsZero() || o.until.Before(next) {
			next = o.until
		}
	}
	return next
}

// poke makes Run look. It never blocks.
func (t *Taps) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
