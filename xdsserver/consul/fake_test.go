package consul_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

// A fake is one key of a Consul in memory, whose ways can be changed.
type fake struct {
	mu      sync.Mutex
	index   uint64
	value   string
	changed chan struct{} // closed with the next change
	ways    ways
	asked   []string // the queries that it took
	waiting int      // of them, those that wait now
	most    int      // that ever waited
}

// Ways are how a fake answers. The zero value is how Consul does.
type ways struct {
	hangs    bool   // never answers
	status   int    // what it refuses with
	body     string // and says
	stale    time.Duration
	filtered bool
}

func newFake() *fake { return &fake{index: 10, value: "v10", changed: make(chan struct{})} }

// set changes the key; an index may go back.
func (f *fake) set(index uint64, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index, f.value = index, value
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) become(w ways) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ways = w
	close(f.changed) // those who wait learn of it, as from a server that ends
	f.changed = make(chan struct{})
}

// queries returns what was asked since the last call.
func (f *fake) queries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.asked
	f.asked = nil
	return out
}

func (f *fake) crowd() (waiting, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting, f.most
}

// ServeHTTP implements [http.Handler].
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
	f.mu.Unlock()
	f.wait(r.Context(), query.Get("index"), query.Get("wait"))
	f.mu.Lock()
	index, value, ways := f.index, f.value, f.ways
	f.mu.Unlock()
	if ways.hangs {
		<-r.Context().Done()
		return
	}
	if ways.status != 0 {
		http.Error(w, ways.body, ways.status)
		return
	}
	contact := int64(0)
	if _, asks := query["stale"]; asks && ways.stale > 0 {
		contact, value = ways.stale.Milliseconds(), "old"
	}
	w.Header().Set("X-Consul-Lastcontact", strconv.FormatInt(contact, 10))
	w.Header().Set("X-Consul-Knownleader", "true")
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	w.Header().Set("X-Consul-Results-Filtered-By-Acls", strconv.FormatBool(ways.filtered))
	_ = json.NewEncoder(w).Encode(api.KVPairs{{Key: "tulle/x", Value: []byte(value), ModifyIndex: index}})
}

// wait is Consul's blocking query.
func (f *fake) wait(ctx context.Context, index, wait string) {
	if index == "" || index == "0" {
		return
	}
	d, err := time.ParseDuration(wait)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.waiting++
	f.most = max(f.most, f.waiting)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.waiting--
		f.mu.Unlock()
	}()
	timer := time.NewTimer(d + d/32)
	defer timer.Stop()
	f.mu.Lock()
	changed, now := f.changed, f.index
	f.mu.Unlock()
	if strconv.FormatUint(now, 10) != index {
		return
	}
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connect serves a handler in memory, and returns a client of it. It ends with the test.
func connect(t *testing.T, handler http.Handler, config consul.Config) *consul.Client {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := consul.New(config)
	if err != nil {
		t.Fatal(err)
	}
	lis := &pipes{made: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis)
	}()
	c.Dial(lis.dial)
	t.Cleanup(func() {
		_ = c.Close()
		_ = srv.Close()
		<-done
	})
	return c
}

// pipes is a listener in memory.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.made <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements [net.Listener].
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.made:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// A witness follows a key, and remembers what it was told.
type witness struct {
	mu   sync.Mutex
	told []told
	last time.Time
}

type told struct {
	at     time.Time
	answer consul.Answer[string]
}

func (w *witness) emit(a consul.Answer[string]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	w.told = append(w.told, told{w.last, a})
}

// take returns what it was told since the last call, one text each: "v10", or the
// error.
func (w *witness) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, t := range w.told {
		text := t.answer.Value
		if t.answer.Err != nil {
			text = t.answer.Err.Error()
		}
		if t.answer.Filtered {
			text += " filtered"
		}
		out = append(out, text)
	}
	w.told = nil
	return out
}

// since returns when it was told last.
func (w *witness) since() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// follow has a witness follow the key "x" until the test ends, or leave is called.
func follow(t *testing.T, c *consul.Client) (w *witness, leave func()) {
	t.Helper()
	w = &witness{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- consul.Follow(ctx, c, key(c, "x", w.emit)) }()
	leave = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Follow returned %v", err)
		}
	})
	t.Cleanup(leave)
	return w, leave
}

// key is a key as a Watch of its value.
func key(c *consul.Client, name string, emit func(consul.Answer[string])) consul.Watch[string] {
	return consul.Watch[string]{
		What: "key " + name,
		Fetch: func(q *api.QueryOptions) (string, *api.QueryMeta, error) {
			pair, meta, err := c.API().KV().Get(c.Key(name), q)
			if err != nil || pair == nil {
				return "", meta, err
			}
			return string(pair.Value), meta, nil
		},
		Emit: emit,
	}
}

// A journal is a log that can be read meanwhile.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements [io.Writer].
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) wantCount(t *testing.T, text string, want int) {
	t.Helper()
	if got := strings.Count(j.String(), text); got != want {
		t.Errorf("%q was logged %d times, want %d; the log:\n%s", text, got, want, j)
	}
}
