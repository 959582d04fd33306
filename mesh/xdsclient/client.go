package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// A Client keeps one stream to a control plane for a whole process. It is safe
// for concurrent use.
//
// Its goroutines are few and do not grow with subscriptions: one that finds a
// server and sends, one that receives, one that watches deadlines, one that
// writes the disk cache, and one that looks for the return of a better server
// while a lesser one is in use. All belong to [Client.Run].
type Client struct {
	// Immutable after New.
	types   []Type
	index   map[string]int // of types, by URL
	node    *xdsv3.Node
	logger  *slog.Logger
	servers *servers
	disk    *disk // nil without a disk cache
	loaded  bool  // the disk remembered something
	started atomic.Bool
	nacks   atomic.Uint64 // responses that were refused

	// diskFailed is owned by the goroutine that saves and, after it, by Run.
	diskFailed bool

	ready     chan struct{} // closed once, under mu
	done      chan struct{} // closed when Run returns
	readyOnce sync.Once

	wakeSender, wakeKeeper, wakeSaver wake

	// mu guards what follows and the resources. It is never held while decoding,
	// sending, reading or writing files, logging or notifying.
	mu sync.Mutex
	// tables hold the resources somebody is interested in (and those whose
	// unsubscription is not sent yet), by type index and name.
	tables []map[string]*resource
	count  int // of resources in tables
	held   int // bytes of their good values
	// dirty are the resources whose subscription may differ from the server's.
	dirty []map[*resource]struct{}
	// waiting are those that have neither an answer nor a substitute for one.
	waiting map[*resource]struct{}
	// memory is the last good form of everything, used now or not.
	memory map[key]*entry
	// session is the stream that is open, nil while there is none.
	session *session
	// answered is true once any stream has gone live.
	answered bool
	// since is when a stream went live or, while none is, when the last one ended.
	since time.Time
	// switched is when the current server last changed.
	switched time.Time
	// down is why no server can be reached; nil while that is not known.
	down    error
	lastErr error
	// stale counts resources whose State is stale; staleSince is since when,
	// staleSaid whether it was logged, downSaid whether down was.
	stale               int
	staleSince          time.Time
	staleSaid, downSaid bool
}

// wake is a one-slot signal: state has changed, look at it.
type wake chan struct{}

func (w wake) set() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// New returns a Client that does nothing until [Client.Run]. It reads the disk
// cache, and no more: a cache that cannot be used is ignored with one warning.
// The error names the field of the Config that cannot work.
func New(config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	node := *config.Node
	c := &Client{
		types:      slices.Clone(config.Types),
		index:      make(map[string]int, len(config.Types)),
		node:       &node,
		logger:     config.Logger,
		ready:      make(chan struct{}),
		done:       make(chan struct{}),
		wakeSender: make(wake, 1),
		wakeKeeper: make(wake, 1),
		wakeSaver:  make(wake, 1),
		tables:     make([]map[string]*resource, len(config.Types)),
		dirty:      make([]map[*resource]struct{}, len(config.Types)),
		waiting:    map[*resource]struct{}{},
		memory:     map[key]*entry{},
		since:      time.Now(),
	}
	if c.logger == nil {
		c.logger = slog.Default()
	}
	for i, t := range c.types {
		c.index[t.URL] = i
		c.tables[i] = map[string]*resource{}
		c.dirty[i] = map[*resource]struct{}{}
	}
	var err error
	if c.servers, err = newServers(config.Servers, config.DialOptions); err != nil {
		return nil, err
	}
	if config.CacheFile != "" {
		c.disk = newDisk(config.CacheFile)
		c.load()
	}
	return c, nil
}

// Run keeps the stream until ctx ends, and then returns nil, after its
// goroutines have ended, the cache is written and the connection is closed. A
// Client runs once; a second Run returns an error.
func (c *Client) Run(ctx context.Context) error {
	if c.started.Swap(true) {
		return errors.New("xdsclient: a client runs once: make another with New")
	}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return c.connect(inner) })
	g.Go(func() error { return c.keep(inner) })
	g.Go(func() error { return c.saveOnChange(inner) })
	err := g.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	c.save()
	c.servers.close()
	var after effects
	c.mu.Lock()
	c.down = errStopped
	for r := range c.waiting {
		c.goWithout(r, errStopped, &after)
	}
	c.mu.Unlock()
	close(c.done)
	after.run(c.logger)
	return err
}

// Ready waits until the client has a source of configuration: a server has
// answered on the stream (or has taken it, while nothing is subscribed to), or no
// server can be reached and the disk remembers an earlier answer. The error says
// which servers have not answered, and why.
func (c *Client) Ready(ctx context.Context) error {
	select {
	case <-c.ready: // also when ctx has ended as well
		return nil
	default:
	}
	select {
	case <-c.ready:
		return nil
	case <-c.done:
		return errStopped
	case <-ctx.Done():
		c.mu.Lock()
		last := c.lastErr
		c.mu.Unlock()
		if last == nil {
			return fmt.Errorf("xdsclient: no answer from %s: %w", strings.Join(c.servers.targets, ", "), ctx.Err())
		}
		return fmt.Errorf("xdsclient: no server answers: %w (%w)", last, ctx.Err())
	}
}

func (c *Client) setReady() { c.readyOnce.Do(func() { close(c.ready) }) }
