// Package tap is where an operator's wish to watch calls meets the processes that see
// them: it tells these, as commands, what to report, takes their reports, and hands the
// events to who asked.
//
//	hub := tap.New(tap.Config{Identify: reporter, Processes: processes})
//	merger := merge.New([]source.Source{..., hub}, logger) // commands go out as configuration does
//	tapv1.RegisterTapServiceServer(g, hub)
//	watch, err := hub.Open(tap.Request{Service: web, To: "voting", By: "user 1000"})
//	defer watch.Close()
//	for {
//		update, err := watch.Next(ctx)
//		show(update)
//	}
//
// Who may tap is not decided here, see package admin. A report is of the service that
// the reporter's certificate names, whatever it says: it reaches only taps of that
// service. All that is in it is bounded and made plain text before anybody reads it.
//
// What is asked for is not kept on disk: with xdsserver it ends.
package tap

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// Bounds of what may be asked for at once.
const (
	// MaxTaps is of all services, MaxPerService of one: as many as a process takes.
	MaxTaps       = 16
	MaxPerService = 4
	// maxCommanded is of services that were ever told something.
	maxCommanded = 10_000
)

const (
	// tick is how often the rate is divided among the processes that there are, and
	// the least that readers hear.
	tick = 5 * time.Second
	// early is how often processes are counted that do not know of a new tap yet, for
	// so long.
	early, earlyFor = 250 * time.Millisecond, 10 * time.Second
)

// Config is what a [Hub] is made of. Identify and Processes are needed.
type Config struct {
	// Identify says whose report ctx is of: the service that the certificate names.
	Identify func(ctx context.Context) (service, id string, err error)
	// Processes returns how many processes of a service take commands, and how many of
	// them have those of a generation of the hub's output, or later ones. Instance empty
	// is all.
	Processes func(service, instance string, generation uint64) (have, of int)
	// Logger takes the hub's few messages; nil means slog.Default().
	Logger *slog.Logger
}

// A Hub holds the taps and the log commands of a mesh. It is safe for concurrent use.
type Hub struct {
	tapv1.UnimplementedTapServiceServer

	config Config
	wake   chan struct{} // has room for one: that commands changed

	mu         sync.Mutex // held for bookkeeping only
	generation uint64
	taps       map[string]*Watch
	logs       map[model.ServiceName]*logOrder
	// commands are what is emitted; a service that was ever told something stays, with
	// nothing: its resource is not to be gone.
	commands map[model.ServiceName]*model.Commands
}

var (
	_ source.Source          = (*Hub)(nil)
	_ tapv1.TapServiceServer = (*Hub)(nil)
)

// New returns a Hub. The caller runs it as the source that it is.
func New(c Config) *Hub {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Hub{
		config:     c,
		wake:       make(chan struct{}, 1),
		generation: 1,
		taps:       map[string]*Watch{},
		logs:       map[model.ServiceName]*logOrder{},
		commands:   map[model.ServiceName]*model.Commands{},
	}
}

// Name is "commands".
func (*Hub) Name() string { return "commands" }

// Run implements source.Source. It also ends what is over, and divides rates anew.
func (h *Hub) Run(ctx context.Context, emit func(source.Output)) error {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	emitted := uint64(0)
	for {
		h.tend(time.Now())
		if out := h.output(); out.Generation != emitted {
			emitted = out.Generation
			emit(out)
		}
		timer.Reset(h.next(time.Now()))
		select {
		case <-ctx.Done():
			h.end()
			return nil
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// next is how long until there is something to do.
func (h *Hub) next(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := time.Hour
	for _, w := range h.taps {
		wait = min(wait, tick, w.until.Sub(now))
		if now.Sub(w.opened) < earlyFor && w.lacks() {
			wait = min(wait, early)
		}
	}
	for _, l := range h.logs {
		wait = min(wait, l.command.Until.Sub(now))
	}
	return max(0, wait)
}

// tend ends what is over, and divides rates.
func (h *Hub) tend(now time.Time) {
	counts := h.count()
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := map[model.ServiceName]bool{}
	for id, w := range h.taps {
		n, counted := counts[id]
		if counted {
			w.count(n.have, n.of, now)
		}
		if !now.Before(w.until) {
			w.stop(errOver)
		}
		if w.isOver() {
			delete(h.taps, id)
			changed[w.service] = true
		} else if counted && w.share(n.of) {
			changed[w.service] = true
		}
	}
	for name, l := range h.logs {
		if !now.Before(l.command.Until) {
			delete(h.logs, name)
			changed[name] = true
		}
	}
	for name := range changed {
		h.compose(name)
	}
}

// A census is of the processes of one service.
type census struct{ have, of int }

// count asks for the processes of each tap, with no lock held.
func (h *Hub) count() map[string]census {
	h.mu.Lock()
	taps := maps.Clone(h.taps)
	h.mu.Unlock()
	counts := make(map[string]census, len(taps))
	for id, w := range taps {
		var c census
		c.have, c.of = h.config.Processes(w.service.String(), w.request.Instance, w.generation)
		counts[id] = c
	}
	return counts
}

// compose makes the commands of a service anew, which is a new output. mu is held.
func (h *Hub) compose(name model.ServiceName) {
	c := &model.Commands{}
	for _, w := range h.taps {
		if w.service == name {
			c.Taps = append(c.Taps, w.command())
		}
	}
	sortTaps(c.Taps)
	if l := h.logs[name]; l != nil {
		c.Log = &l.command
	}
	h.commands[name] = c
	h.generation++
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *Hub) output() source.Output {
	h.mu.Lock()
	defer h.mu.Unlock()
	return source.Output{Generation: h.generation, Commands: maps.Clone(h.commands)}
}

// end lets all readers go.
func (h *Hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, w := range h.taps {
		w.stop(errClosing)
		delete(h.taps, id)
	}
}

// Commands are what processes are told to do now, in order of service.
func (h *Hub) Commands() []Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Command, 0, len(h.taps)+len(h.logs))
	for _, w := range h.taps {
		all = append(all, Command{
			Service: w.service.String(), Instance: w.request.Instance, Kind: "tap", What: w.request.String(), By: w.request.By, Until: w.until,
		})
	}
	for name, l := range h.logs {
		all = append(all, Command{
			Service: name.String(), Instance: l.command.Instance, Kind: "log", What: l.what(), By: l.by, Until: l.command.Until,
		})
	}
	sortCommands(all)
	return all
}

// A Command is what processes are told to do for a while.
type Command struct {
	Service, Instance string
	// Kind is "tap" or "log".
	Kind string
	// What says it in words.
	What string
	// By is who asked.
	By    string
	Until time.Time
}

// newID is a tap's, which nobody guesses: a report names it.
func newID() string { return rand.Text()[:16] }

// room reports why a service cannot be told something. mu is held.
func (h *Hub) room(name model.ServiceName) error {
	if h.commands[name] == nil && len(h.commands) >= maxCommanded {
		return fmt.Errorf("%w: %d services were told something since xdsserver began, which is the most: restart it", ErrFull, maxCommanded)
	}
	return nil
}
