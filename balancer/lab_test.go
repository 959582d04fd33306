package balancer

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A lab is a pool of fake endpoints, in a bubble.
type lab struct {
	t         *testing.T
	config    resource.Balancing
	endpoints []*fake
	pool      *Pool
	logs      logs
}

// A fake is an endpoint that does as its fields say. They may be changed while no call
// is begun.
type fake struct {
	node    *Node
	address string
	weight  uint32
	local   bool
	takes   func() time.Duration // nil takes no time
	code    codes.Code
	trailer metadata.MD
	err     error // of the pick

	calls atomic.Int64
}

// Pick implements grpc-go's balancer.Picker.
func (e *fake) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	if e.err == nil {
		e.calls.Add(1)
	}
	return balancer.PickResult{}, e.err
}

// inLab runs a play of n endpoints with the defaults of the mesh.
func inLab(t *testing.T, n int, play func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, config: resource.DefaultBalancing()}
		l.add(n)
		l.open()
		play(l)
	})
}

func (l *lab) add(n int) {
	for range n {
		address := fmt.Sprintf("10.0.0.%d:8080", len(l.endpoints))
		l.endpoints = append(l.endpoints, &fake{node: NewNode(address), address: address, weight: 1})
	}
}

// open makes the pool of the endpoints as they are.
func (l *lab) open() {
	var w *watch
	if l.pool != nil {
		w = l.pool.watch
	} else {
		w = newWatch(slog.New(slog.NewTextHandler(&l.logs, nil)), "voting")
	}
	var members []Member
	for _, local := range []bool{true, false} {
		for _, e := range l.endpoints {
			if e.local == local {
				members = append(members, Member{
					Endpoint: &resource.Endpoint{Addresses: []string{e.address}, Weight: e.weight},
					Picker:   e, Node: e.node, Local: e.local,
				})
			}
		}
	}
	config := l.config
	fresh := NewPool(&config, members) // configures the nodes
	l.pool = newPool(&config, members, poolOptions{watch: w, detector: fresh.detector, zoned: fresh.zoned})
}

// logs are lines of a logger.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

// count returns how many lines have a text.
func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// A result of one call.
type labResult struct {
	endpoint *fake
	took     time.Duration
	err      error
}

// one makes a call and waits for its end.
func (l *lab) one(rpc *call.Call) labResult {
	began := time.Now()
	result, err := l.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
	if err != nil {
		return labResult{err: err}
	}
	e := l.at(rpc.Endpoint())
	if e.takes != nil {
		<-time.After(e.takes())
	}
	info := balancer.DoneInfo{BytesSent: true, BytesReceived: true, Trailer: e.trailer}
	if e.code != codes.OK {
		info.Err = status.Error(e.code, "of "+e.address)
	}
	result.Done(info)
	return labResult{endpoint: e, took: time.Since(began), err: info.Err}
}

func (l *lab) at(address string) *fake {
	for _, e := range l.endpoints {
		if e.address == address {
			return e
		}
	}
	l.t.Errorf("no endpoint at %q", address)
	return nil
}

func (l *lab) call() *call.Call {
	return &call.Call{Context: context.Background(), Cluster: "voting"}
}

// work makes calls for d, perSecond of them at random intervals, and waits for all.
func (l *lab) work(perSecond float64, d time.Duration) []labResult {
	end := time.Now().Add(d)
	var mu sync.Mutex
	var all []labResult
	var wait sync.WaitGroup
	for time.Now().Before(end) {
		time.Sleep(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second)))
		wait.Go(func() {
			r := l.one(l.call())
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r)
		})
	}
	wait.Wait()
	synctest.Wait()
	return all
}

// share returns the part of calls that endpoint i got.
func (l *lab) share(all []labResult, i int) float64 {
	n := 0
	for _, r := range all {
		if r.endpoint == l.endpoints[i] {
			n++
		}
	}
	return float64(n) / float64(max(len(all), 1))
}

func failures(all []labResult) int {
	n := 0
	for _, r := range all {
		if r.err != nil {
			n++
		}
	}
	return n
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// around is exponentially distributed.
func around(d time.Duration) func() time.Duration {
	return func() time.Duration { return time.Duration(float64(d) * rand.ExpFloat64()) }
}
