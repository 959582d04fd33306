package consul_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// A reign is one time that Do was called.
type reign struct {
	fence consul.Fence
	ctx   context.Context
	end   func() // has Do return
}

// lead has a client take part in a leadership until the test ends, or end is called. Do
// returns when its context ends, or the reign is ended.
func lead(t *testing.T, c *consul.Client, lock string) (reigns chan reign, end func()) {
	t.Helper()
	reigns = make(chan reign, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Lead(ctx, consul.Leadership{Key: lock, Name: "test", Do: func(ctx context.Context, f consul.Fence) error {
			enough, leave := context.WithCancel(ctx)
			defer leave()
			reigns <- reign{fence: f, ctx: ctx, end: leave}
			<-enough.Done()
			return nil
		}})
	}()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Lead returned %v", err)
		}
	})
	t.Cleanup(end)
	return reigns, end
}

// next waits for a reign.
func next(t *testing.T, reigns <-chan reign, d time.Duration) reign {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case r := <-reigns:
		return r
	case <-timer.C:
		t.Fatalf("nobody leads within %v", d)
		return reign{}
	}
}

// over waits until a reign is.
func (r reign) over(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
	case <-timer.C:
		t.Errorf("the reign is not over within %v", d)
	}
}

func testLead(t *testing.T, s *site) {
	a, b := s.connect(t, consul.Config{}), s.connect(t, consul.Config{})
	first, endFirst := lead(t, a, "one-of-two")
	one := next(t, first, 10*time.Second)
	second, _ := lead(t, b, "one-of-two")
	ctx := t.Context()
	if err := one.fence.Transact(ctx, a.PutOp("fenced", []byte("1"), 0)); err != nil {
		t.Error(err)
	}
	pair, _, err := a.Get(ctx, "one-of-two")
	if err != nil || string(pair.Value) != "test" {
		t.Errorf("the lock holds %q, %v, want the name of who holds it", pair.Value, err)
	}
	quiet(t, second, 2*time.Second)

	// Who wished to lead no more is followed at once, and comes again after the other.
	one.end()
	began := time.Now()
	two := next(t, second, 5*time.Second)
	t.Logf("the next led %v after the leader's duty was done", time.Since(began))
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v, want 1 s at most", took)
	}
	if err := one.fence.Transact(ctx, a.PutOp("late", nil, 0)); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("a fence of a former leader: got %v", err)
	}
	rest(2 * consul.ResignFor) // until the other asks again
	two.end()
	three := next(t, first, 5*time.Second)

	// The same when the process ends.
	rest(2 * consul.ResignFor)
	endFirst()
	if three.ctx.Err() == nil {
		t.Error("Lead returned before the reign was over")
	}
	began = time.Now()
	next(t, second, time.Second)
	t.Logf("the next led %v after the leader ended", time.Since(began))
}

// quiet fails if anybody leads meanwhile.
func quiet(t *testing.T, reigns <-chan reign, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-reigns:
		t.Error("two lead")
	case <-timer.C:
	}
}

func testLeaderCut(t *testing.T, s *site) {
	w := newWire(t, s.Address())
	a, b := s.connect(t, consul.Config{Address: w.addr()}), s.connect(t, consul.Config{})
	first, _ := lead(t, a, "cut")
	one := next(t, first, 10*time.Second)
	second, _ := lead(t, b, "cut")
	w.cut()
	began := time.Now()
	one.over(t, consul.SessionTTL+time.Second)
	t.Logf("the leader gave up after %v", time.Since(began))
	two := next(t, second, 2*consul.SessionTTL+5*time.Second)
	t.Logf("another led after %v", time.Since(began))
	w.mend()
	within(t, 10*time.Second, "the former leader reads again", func() bool { _, _, err := a.Get(t.Context(), "cut"); return err == nil })
	if err := one.fence.Transact(t.Context(), a.PutOp("cut-late", nil, 0)); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("a fence of a former leader: got %v", err)
	}
	if err := two.fence.Transact(t.Context(), b.PutOp("cut-now", nil, 0)); err != nil {
		t.Error(err)
	}
	quiet(t, first, time.Second)
}

func testSessionDestroyed(t *testing.T, s *site) {
	a := s.connect(t, consul.Config{})
	reigns, _ := lead(t, a, "destroyed")
	one := next(t, reigns, 10*time.Second)
	pair, _, err := s.Client(t).KV().Get(a.Key("destroyed"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client(t).Session().Destroy(pair.Session, nil); err != nil {
		t.Fatal(err)
	}
	one.over(t, time.Second)
	began := time.Now()
	two := next(t, reigns, 5*time.Second)
	t.Logf("it led again %v after it lost its session", time.Since(began))
	if err := one.fence.Transact(t.Context(), a.PutOp("destroyed-late", nil, 0)); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("the fence of the reign before: got %v", err)
	}
	if err := two.fence.Transact(t.Context(), a.PutOp("destroyed-now", nil, 0)); err != nil {
		t.Error(err)
	}
}

func testLeadRefused(t *testing.T, s *site) {
	file, log := filepath.Join(t.TempDir(), "token"), &journal{}
	if err := os.WriteFile(file, []byte(s.token(t, `key_prefix "" { policy = "write" }`)), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.connect(t, consul.Config{TokenFile: file, Logger: log.logger()})
	reigns, _ := lead(t, c, "refused")
	quiet(t, reigns, 8*time.Second)
	log.wantCount(t, "leadership failed", 1)
	log.wantCount(t, "'session:write'", 1)
	if err := os.WriteFile(file, []byte(root), 0o600); err != nil {
		t.Fatal(err)
	}
	one := next(t, reigns, 6*time.Second)
	if one.ctx.Err() != nil {
		t.Error("it does not lead")
	}
}

func TestADutyThatFailsIsSaidAndAnothersTurn(t *testing.T) {
	s := consultest.Start(t)
	log := &journal{}
	c, err := consul.New(consul.Config{Address: s.Address(), Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- c.Lead(ctx, consul.Leadership{Key: "failing", Do: func(context.Context, consul.Fence) error {
			calls.Add(1)
			return errors.New("the duty is too hard")
		}})
	}()
	within(t, 10*time.Second, "called twice", func() bool { return calls.Load() >= 2 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Lead returned %v", err)
	}
	log.wantCount(t, "the duty is too hard", 1)
	pair, _, err := s.Client(t).KV().Get(c.Key("failing"), nil)
	if err != nil || pair == nil || pair.Session != "" {
		t.Errorf("the lock is %+v, %v, want it to be free", pair, err)
	}
	if sessions, _, err := s.Client(t).Session().List(nil); err != nil || len(sessions) != 0 {
		t.Errorf("%d sessions are left, %v", len(sessions), err)
	}
}
