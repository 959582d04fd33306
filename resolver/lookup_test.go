package resolver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

func TestConfigWakesAnIdleConnection(t *testing.T) {
	t.Run("and waits for the first configuration", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting.default")
			if cc.GetState() != connectivity.Idle {
				t.Fatal("the connection is not idle")
			}
			time.AfterFunc(time.Second, src.voting)
			start := time.Now()
			config, err := b.Config(t.Context(), cc)
			if err != nil || config.Service != "voting" || time.Since(start) != time.Second {
				t.Errorf("got %+v, %v after %v", config, err, time.Since(start))
			}
			if got := b.Targets(); len(got) != 1 || got[0].Connections != 1 {
				t.Errorf("targets = %+v", got)
			}
		})
	})
}

// What is known before the connection asks must not be let go in between.
func TestAConfigThatIsThereAtOnceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.voting()
		b := newRunning(t, src)
		tgt := b.enter("voting", "mesh:///voting.default") // another call that waits
		synctest.Wait()
		cc := dial(t, b, "mesh:///voting")
		config, err := b.Config(t.Context(), cc)
		b.leave(tgt)
		synctest.Wait()
		if again, _ := b.Config(t.Context(), cc); err != nil || again != config {
			t.Errorf("got %p, then %p, %v", config, again, err)
		}
	})
}

func TestConfigWithoutAControlPlane(t *testing.T) {
	down := &xdsclient.UnavailableError{
		Type: resource.ListenerType, Name: "voting",
		Cause: errors.New("xds.test:18000: connection refused"),
	}
	unavailable := func(src *fakeSource) { src.set(resource.ListenerType, "voting", xdsclient.State{Err: down}) }
	patient := func(ctx context.Context) context.Context {
		return &call.Call{Context: ctx, WaitForReady: true}
	}

	t.Run("fails when the timeout is over, and then at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			unavailable(src)
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting")
			start := time.Now()
			_, err := b.Config(t.Context(), cc)
			if got := time.Since(start); got != DefaultConfigTimeout {
				t.Errorf("waited %v, want %v", got, DefaultConfigTimeout)
			}
			want := `mesh: no configuration for "voting" yet: ` + down.Error() + `; try: xdsserver check`
			if e := call.AsError(err); e == nil || e.Reason != call.NoConfig || status.Code(err) != codes.Unavailable || e.Error() != want {
				t.Errorf("got\n\t%v\nwant\n\t%s", err, want)
			}
			start = time.Now()
			if _, err := b.Config(t.Context(), cc); call.AsError(err) == nil || time.Since(start) != 0 {
				t.Errorf("the second call: %v after %v", err, time.Since(start))
			}
			src.voting()
			synctest.Wait()
			if _, err := b.Config(t.Context(), cc); err != nil {
				t.Errorf("healed, but %v", err)
			}
		})
	})

	t.Run("fails when the call's deadline is sooner", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			unavailable(src)
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := b.Config(ctx, cc)
			want := `mesh: deadline exceeded after 1s: no configuration for "voting" yet: ` +
				down.Error() + `; try: xdsserver check`
			if status.Code(err) != codes.DeadlineExceeded || err.Error() != want {
				t.Errorf("got\n\t%v\nwant\n\t%s", err, want)
			}
		})
	})

	t.Run("is given up with the call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newRunning(t, newFakeSource())
			cc := dial(t, b, "mesh:///voting")
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := b.Config(ctx, cc); status.Code(err) != codes.Canceled {
				t.Errorf("got %v", err)
			}
		})
	})

	t.Run("does not end a call that waits for ready", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			unavailable(src)
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting")
			time.AfterFunc(time.Hour, src.voting)
			start := time.Now()
			if _, err := b.Config(patient(t.Context()), cc); err != nil || time.Since(start) != time.Hour {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
		})
	})

	t.Run("waits for what is missing, not for what is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			src.route("voting", "voting", "voting/v2")
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting")
			_, err := b.Config(t.Context(), cc)
			want := `mesh: no configuration for "voting" yet, it waits for Cluster "voting/v2"; try: xdsserver check`
			if err == nil || err.Error() != want {
				t.Errorf("got\n\t%v\nwant\n\t%s", err, want)
			}
		})
	})
}

func TestConfigOfAnUnknownService(t *testing.T) {
	t.Run("fails at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.fail(resource.ListenerType, "voting", errNotFound)
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting")
			start := time.Now()
			_, err := b.Config(t.Context(), cc)
			if e := call.AsError(err); e == nil || e.Reason != call.UnknownService || time.Since(start) != 0 {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
		})
	})
	t.Run("is waited for by a call that waits for ready", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.fail(resource.ListenerType, "voting", errNotFound)
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting")
			time.AfterFunc(time.Minute, src.voting)
			config, err := b.Config(&call.Call{Context: t.Context(), WaitForReady: true}, cc)
			if err != nil || config == nil {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestConfigOfABadTarget(t *testing.T) {
	t.Run("says what is wrong with it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newRunning(t, newFakeSource())
			cc := dial(t, b, "mesh:///Voting")
			_, err := b.Config(&call.Call{Context: t.Context(), WaitForReady: true}, cc)
			if e := call.AsError(err); e == nil || e.Reason != call.BadTarget {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestConfigOfAnotherScheme(t *testing.T) {
	b := newBuilder(newFakeSource(), Config{})
	for _, target := range []string{"dns:///voting", "passthrough:///voting", "voting:8080", "unix:///run/mesh"} {
		cc := dial(t, b, target)
		if config, err := b.Config(t.Context(), cc); config != nil || err != nil {
			t.Errorf("%s: got %v, %v", target, config, err)
		}
	}
	if len(b.Targets()) != 0 {
		t.Errorf("targets = %+v", b.Targets())
	}
}

func TestConfigOfAClosedConnection(t *testing.T) {
	t.Run("fails as grpc does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newRunning(t, newFakeSource())
			cc := dial(t, b, "mesh:///voting")
			cc.Close()
			if _, err := b.Config(t.Context(), cc); status.Code(err) != codes.Canceled {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("fails when it is closed while a call waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newRunning(t, newFakeSource())
			cc := dial(t, b, "mesh:///voting")
			time.AfterFunc(time.Second, func() { cc.Close() })
			start := time.Now()
			_, err := b.Config(&call.Call{Context: t.Context(), WaitForReady: true}, cc)
			if status.Code(err) != codes.Canceled || time.Since(start) != time.Second {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
			synctest.Wait()
			if len(b.Targets()) != 0 {
				t.Errorf("targets = %+v", b.Targets())
			}
		})
	})
}

func TestAConnectionThatGoesIdle(t *testing.T) {
	t.Run("lets go, and finds its configuration again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			cc := dial(t, b, "mesh:///voting", grpc.WithIdleTimeout(time.Minute))
			first, err := b.Config(t.Context(), cc)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			if cc.GetState() != connectivity.Idle || src.open() != 0 || len(*b.byDial.Load()) != 0 {
				t.Errorf("idle: %v, %d subscriptions, %d targets known", cc.GetState(), src.open(), len(*b.byDial.Load()))
			}
			again, err := b.Config(t.Context(), cc)
			if err != nil || again.Revision <= first.Revision {
				t.Errorf("got revision %d after %d, %v", again.Revision, first.Revision, err)
			}
		})
	})
}

func TestAClosedMesh(t *testing.T) {
	t.Run("keeps what connections have, and gives nothing new", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newBuilder(src, Config{})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- b.Run(ctx) }()
			cc, other, late := dial(t, b, "mesh:///voting"), dial(t, b, "mesh:///emoji"), dial(t, b, "mesh:///late")
			if _, err := b.Config(t.Context(), cc); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := b.Config(t.Context(), other)
			if got := time.Since(start); got != time.Second {
				t.Errorf("a call that waits ends after %v, want 1s", got)
			}
			if e := call.AsError(err); e == nil || e.Reason != call.NoConfig || e.Detail != `no configuration for "emoji": the mesh is closed` {
				t.Errorf("a call that waits: %v", err)
			}
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if src.open() != 0 {
				t.Errorf("%d subscriptions are left", src.open())
			}
			if _, err := b.Config(t.Context(), cc); err != nil {
				t.Errorf("the last configuration is gone: %v", err)
			}
			if _, err := b.Config(t.Context(), late); call.AsError(err) == nil {
				t.Errorf("a new service: %v", err)
			}
			if r, err := b.Build(parse(t, "mesh:///late"), &fakeConn{}, resolverOptions); r != nil || call.AsError(err) == nil {
				t.Errorf("Build: %v, %v", r, err)
			}
			if err := b.Run(t.Context()); err == nil {
				t.Error("Run runs again")
			}
		})
	})
}

func TestConfigAllocatesNothing(t *testing.T) {
	b, cc := configured(t)
	got := testing.AllocsPerRun(100, func() {
		if config, err := b.Config(t.Context(), cc); config == nil || err != nil {
			t.Error(err)
		}
	})
	if got != 0 {
		t.Errorf("Config costs %v allocations", got)
	}
}

// configured returns a Builder that has the configuration of cc.
func configured(tb testing.TB) (*Builder, *grpc.ClientConn) {
	tb.Helper()
	src := newFakeSource()
	src.voting()
	b := newBuilder(src, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	cc, err := grpc.NewClient("mesh:///voting", dialOptions(b)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cc.Close()
		cancel()
		<-done
	})
	if _, err := b.Config(tb.Context(), cc); err != nil {
		tb.Fatal(err)
	}
	return b, cc
}

func BenchmarkConfig(b *testing.B) {
	builder, cc := configured(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if config, err := builder.Config(b.Context(), cc); config == nil || err != nil {
				b.Fatal(err)
			}
		}
	})
}
