package tap

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

var (
	web    = model.ServiceName{Namespace: "default", Name: "web"}
	voting = model.ServiceName{Namespace: "default", Name: "voting"}
)

// A rig is a hub with what is around it.
type rig struct {
	*Hub

	t *testing.T

	mu        sync.Mutex
	service   string // whose the next report is
	err       error  // why it is nobody's
	processes int
	emitted   source.Output
	outputs   int
	// acknowledged is the generation that all processes have.
	acknowledged uint64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, service: "web", processes: 2}
	r.Hub = New(Config{Identify: r.identify, Processes: r.count, Logger: slog.New(slog.DiscardHandler)})
	return r
}

// bubble runs a test in a bubble with a hub that runs.
func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := r.Run(ctx, r.emit); err != nil {
				t.Error(err)
			}
		})
		defer wait.Wait()
		defer cancel()
		synctest.Wait()
		f(t, r)
	})
}

func (r *rig) identify(context.Context) (service, id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.service, "spiffe://tulle.local/ns/default/svc/" + r.service, r.err
}

func (r *rig) count(_, instance string, generation uint64) (have, of int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of = r.processes
	if instance != "" {
		of = min(of, 1)
	}
	if r.acknowledged >= generation {
		have = of
	}
	return have, of
}

func (r *rig) emit(out source.Output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emitted, r.outputs = out, r.outputs+1
}

func (r *rig) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// taps are those that a service is told, once everything is quiet.
func (r *rig) taps(service model.ServiceName) []model.Tap {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.emitted.Commands[service]; c != nil {
		return c.Taps
	}
	return nil
}

// log is what a service is told to log.
func (r *rig) log(service model.ServiceName) *model.LogCommand {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.emitted.Commands[service]; c != nil {
		return c.Log
	}
	return nil
}

func (r *rig) open(request Request) *Watch {
	r.t.Helper()
	if request.Service.Name == "" {
		request.Service = web
	}
	w, err := r.Open(request)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

func (r *rig) report(req *tapv1.ReportRequest) *tapv1.ReportResponse {
	r.t.Helper()
	answer, err := r.Report(context.Background(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// waits is how much waits for a reader.
func (w *Watch) waits() (events, bytes int, dropped uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.events), w.bytes, w.dropped
}

// ask reads until there is an event, or nothing but how the tap stands.
func ask(t *testing.T, w *Watch) Update {
	t.Helper()
	var last Update
	for range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is there, and no more
		u, err := w.Next(ctx)
		if err != nil {
			return last
		}
		if last = u; u.Event != nil {
			return u
		}
	}
	return last
}
