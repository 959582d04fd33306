package load

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/bench/benchv1"
	"github.com/tulle-mesh/tulle/bench/proc"
)

// answerIn bounds how long answers may take that a plan waits for at its end.
const answerIn = 10 * time.Second

// Run calls the services behind conns, in turn, as the plan says.
func Run(ctx context.Context, conns []grpc.ClientConnInterface, p Plan) (Result, error) {
	c, err := newClock()
	if err != nil {
		return Result{}, err
	}
	defer c.close()
	return run(ctx, conns, p, c.sleep)
}

func run(ctx context.Context, conns []grpc.ClientConnInterface, p Plan, sleep func(time.Duration) error) (Result, error) {
	if err := p.check(); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.For+answerIn)
	defer cancel()
	clients := make([]benchv1.EchoServiceClient, len(conns))
	for i, conn := range conns {
		clients[i] = benchv1.NewEchoServiceClient(conn)
	}
	runtime.GC()
	before, err := used()
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	var workers []*worker
	skipped := int64(0)
	if p.Rate > 0 {
		if workers, skipped, err = open(ctx, clients, p, began, sleep); err != nil {
			return Result{}, err
		}
	} else {
		workers = closed(ctx, clients, p, began)
	}
	r := Result{Took: time.Since(began)}
	after, err := used()
	if err != nil {
		return r, err
	}
	r.CPU, r.Mallocs, r.Bytes = after.cpu-before.cpu, after.mallocs-before.mallocs, after.bytes-before.bytes
	r.Ledger = Ledger{Skipped: skipped, Failed: map[string]int64{}}
	samples := make([][]time.Duration, 0, len(workers))
	for _, w := range workers {
		r.Ledger.Sent += w.sent
		r.Ledger.OK += w.ok
		for code, n := range w.failed {
			r.Ledger.Failed[code] += n
		}
		samples = append(samples, w.latencies)
	}
	r.Ledger.Due = r.Ledger.Sent + skipped
	r.Latencies, err = histogram(samples).Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return r, err
}

// A worker makes one call at a time, and counts for itself.
type worker struct {
	client    benchv1.EchoServiceClient
	plan      Plan
	body      []byte
	latencies []time.Duration
	sent, ok  int64
	failed    map[string]int64

	due chan time.Time // in an open loop: when the next call is
}

func newWorker(client benchv1.EchoServiceClient, p Plan) *worker {
	return &worker{client: client, plan: p, body: make([]byte, p.Bytes)}
}

// took settles n units of work, which began together.
func (w *worker) took(n int64, d time.Duration, err error) {
	w.sent += n
	if err == nil {
		w.ok += n
		w.latencies = append(w.latencies, d)
		return
	}
	if w.failed == nil {
		w.failed = make(map[string]int64)
	}
	w.failed[status.Code(err).String()] += n
}

func (w *worker) unary(ctx context.Context, due time.Time) {
	_, err := w.client.Unary(ctx, &benchv1.UnaryRequest{Body: w.body})
	w.took(1, time.Since(due), err)
}

// closed has callers that each call again as soon as they have an answer.
func closed(ctx context.Context, clients []benchv1.EchoServiceClient, p Plan, began time.Time) []*worker {
	workers := make([]*worker, p.Callers)
	var wait sync.WaitGroup
	for i := range workers {
		w := newWorker(clients[i%len(clients)], p)
		workers[i] = w
		wait.Go(func() {
			for now := began; now.Sub(began) < p.For; now = time.Now() {
				switch p.Kind {
				case ServerStream:
					w.serverStream(ctx, now)
				case BidiStream:
					w.bidiStream(ctx)
				default:
					w.unary(ctx, now)
				}
			}
		})
	}
	wait.Wait()
	return workers
}

type usage struct {
	cpu            time.Duration
	mallocs, bytes uint64
}

func used() (u usage, err error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.mallocs, u.bytes = m.Mallocs, m.TotalAlloc
	u.cpu, err = proc.OwnCPU()
	return u, err
}
