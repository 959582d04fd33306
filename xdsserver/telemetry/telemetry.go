// Package telemetry takes what the processes of the mesh measured, keeps it in memory
// for an hour, and answers what is asked of it: the numbers of `stat`, `routes`,
// `edges`, `top` and the dashboard, the callers of `authz suggest` and `check`, and
// the page that Prometheus scrapes.
//
//	t, err := telemetry.Open(telemetry.Config{Identify: identify, Dir: dir})
//	if err != nil {
//		return err
//	}
//	defer t.Close()
//	t.Register(server) // OTLP metrics, on the mesh port
//	go t.Run(ctx)
//	graph := t.Graph(time.Minute, time.Now())
//
// Processes report what they counted since they began, every five seconds; what one
// has more than before belongs to the five seconds in which it came. So a report that
// is lost, or comes twice, changes nothing. Calls that are alike, of all instances of
// a service, are a line: what ended in each five seconds by its status, and how long
// it took in buckets 2 % wide. Two kinds of things are known besides: what single
// instances did of late, and the state that they reported last.
//
// Whose calls they are is what the reporter's certificate says. The rest is the
// reporter's word, who may lie about its own calls and no others. All of it is
// bounded, for each process, each identity and all: beyond the bounds lines become
// [Other], then the oldest five minutes go, and then points are refused and counted.
//
// It decides nothing, and knows nothing of configuration: how many instances there
// ought to be, others know.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// Other is the method of calls whose own is not kept apart.
const Other = "other"

// Client is the name of callers that are no service.
const Client = "client"

const (
	// maxText bounds each text from outside, maxName those that are names, in bytes.
	maxText = 4 << 10
	maxName = 256
	// sweepEvery is the least time between two looks for what is too old.
	sweepEvery = time.Minute
)

// Config configures a Server.
type Config struct {
	// Identify says who reports: its canonical service, empty for none, and its SPIFFE
	// id. Required.
	Identify func(ctx context.Context) (service, id string, err error)
	// Dir is a directory that keeps what is known for the next start; empty keeps
	// nothing. It is made where it is missing.
	Dir string
	// Forward is a collector that gets all reports: see [ParseForward]. Empty is none.
	Forward string
	// Logger takes the server's few messages; nil means slog.Default().
	Logger *slog.Logger
}

// A Server takes reports and answers questions. It is safe for concurrent use.
type Server struct {
	config  Config
	limits  limits
	forward *forwarder // nil where nothing is forwarded
	started time.Time
	disk    *disk      // nil where nothing is kept
	saving  sync.Mutex // held before mu

	mu sync.Mutex // nothing blocks under it
	// since is the moment from which on nothing was missed: this start, or that of the
	// first of those that left what they knew to the next.
	since  time.Time
	window window
	totals totals

	reporters map[reporterKey]*reporter
	// identities is what the reporters of an identity take; reported, what all do.
	identities map[string]size
	reported   size

	// services are those who take calls, with their callers.
	services map[string]*table
	total    size
	// dropped counts observations since logged, when that was last told.
	dropped uint64
	logged  time.Time
	swept   time.Time

	stats stats
	// scratch and spread are memory that is used again.
	scratch scratch
	spread  spreader

	// spare is what the last graph was made in, for the next; without mu.
	spare atomic.Pointer[workspace]
}

type scratch struct {
	key, encoded []byte
	last, delta  histogram
	record       record
}

// stats are the server's own numbers.
type stats struct {
	reports, points, ignored uint64
	refused                  [reasons]uint64
	limited                  uint64
}

// New makes a Server that keeps nothing. It starts nothing.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	now := time.Now()
	s := &Server{
		config: c, started: now, since: now, swept: now,
		limits:     newLimits(),
		window:     newWindow(),
		reporters:  make(map[reporterKey]*reporter),
		identities: make(map[string]size),
		services:   make(map[string]*table),
	}
	s.totals.byKey = make(map[totalKey]*total)
	return s
}

// Open makes a Server that knows what the one before it knew, if c.Dir is given. What
// cannot be read is forgotten, with a warning. The caller closes it.
func Open(c Config) (*Server, error) {
	s := New(c)
	if c.Forward != "" {
		f, err := newForwarder(c.Forward)
		if err != nil {
			return nil, err
		}
		s.forward = f
	}
	if c.Dir == "" {
		return s, nil
	}
	var err error
	if s.disk, err = openDisk(c.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.load()
	return s, nil
}

// Run saves what is known every half minute, and forwards reports, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var forwarding sync.WaitGroup
	defer forwarding.Wait()
	if s.forward != nil {
		forwarding.Go(func() { s.forward.run(ctx, s.config.Logger) })
	}
	tick := time.NewTicker(slotTime)
	defer tick.Stop()
	s.save(false)
	for saved := time.Now(); ; {
		select {
		case <-ctx.Done():
			s.save(true)
			return nil
		case now := <-tick.C:
			s.mu.Lock()
			s.sweep(now)
			s.window.trim()
			s.mu.Unlock()
			if now.Sub(saved) >= saveEvery {
				saved = now
				s.save(false)
			}
		}
	}
}

// Close saves what came since Run ended, and closes the connection to a collector.
func (s *Server) Close() error {
	s.save(true)
	if s.forward != nil {
		return s.forward.close()
	}
	return nil
}

// sweep lets go of what is too old, now and then. mu is held.
func (s *Server) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	s.window.advance(now)
	s.window.sweep()
	s.sweepReporters(now)
	s.sweepRows(now)
	s.totals.sweep()
	s.spare.Store(nil) // where nobody looks, nothing is kept for it
}

// bad reports whether an operator's terminal or a table could not show the text:
// control characters move the cursor, and others the direction of writing.
func bad(text string) bool {
	if len(text) > maxText || !utf8.ValidString(text) {
		return true
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return true
		}
	}
	return false
}
