package service

import (
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tulle-mesh/tulle/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A program serves, dials and runs every kind of load, and nothing of it stays.
func TestAProgramServesAndCalls(t *testing.T) {
	p := &program{door: Door{
		Serve: func(_ string, lis net.Listener, register func(grpc.ServiceRegistrar)) (stop func(), err error) {
			s := grpc.NewServer()
			register(s)
			return Background(func() error { return s.Serve(lis) }, s.Stop), nil
		},
		Dial: func(target string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		},
	}}
	defer func() {
		for _, stop := range p.stops {
			stop()
		}
	}()
	if _, err := p.run(load.Plan{Kind: load.Unary, Callers: 1, For: time.Millisecond}); err == nil {
		t.Error("it calls though nothing was dialled")
	}
	var targets []string
	for range 2 {
		address, err := p.serve(Serving{Service: "echo"})
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, address.(string))
	}
	if _, err := p.dial(targets); err != nil {
		t.Fatal(err)
	}
	if _, err := p.hold(1 << 20); err != nil || len(p.held) != 1<<20 {
		t.Errorf("it holds %d bytes: %v", len(p.held), err)
	}
	if _, err := p.hold(-1); err == nil {
		t.Error("it holds less than nothing")
	}
	for _, plan := range []load.Plan{
		{Kind: load.Unary, Bytes: 100, Callers: 4, For: 20 * time.Millisecond},
		{Kind: load.Unary, Bytes: 100, Rate: 500, For: 20 * time.Millisecond},
		{Kind: load.ServerStream, Bytes: 100, Callers: 2, For: 20 * time.Millisecond},
		{Kind: load.BidiStream, Bytes: 100, Callers: 2, For: 20 * time.Millisecond},
	} {
		got, err := p.run(plan)
		if err != nil {
			t.Fatal(err)
		}
		r := got.(load.Result)
		if err := r.Ledger.Check(); err != nil || r.Ledger.OK == 0 || r.Mallocs == 0 {
			t.Errorf("%+v: %v, %+v", plan, err, r.Ledger)
		}
	}
}
