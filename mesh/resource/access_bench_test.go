package resource_test

import (
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/grpc/authz"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// benchRules are n rules, each for a method and a caller of its own, and one that
// denies a service; the call is one that only the last of them allows.
func benchRules(n int) (deny, allow []accessRule, call accessCall) {
	deny = []accessRule{{name: "default/guard/deny/0", principals: []string{"*"}, paths: []string{"/admin.Admin/*"}}}
	for i := range n {
		allow = append(allow, accessRule{
			name: fmt.Sprintf("default/service-%d/allow/0", i), principals: []string{benchCaller(i)}, paths: []string{benchMethod(i)},
		})
	}
	return deny, allow, accessCall{
		id: benchCaller(n - 1), method: benchMethod(n - 1),
		md: metadata.Pairs("content-type", "application/grpc", "user-agent", "grpc-go/1.85.0", ":authority", "voting"),
	}
}

func ourEngine(tb testing.TB, deny, allow []accessRule) *resource.Access {
	tb.Helper()
	encoded := func(list []accessRule) policies {
		out := policies{}
		for _, rule := range list {
			out[rule.name] = policy(oneOf(method(rule.paths[0])), encodePrincipal(rule.principals[0]))
		}
		return out
	}
	return deciding(tb, denying(encoded(deny)), allowing(encoded(allow)))
}

func BenchmarkAccess(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		deny, allow, call := benchRules(n)
		b.Run(fmt.Sprintf("ours/%d policies", n), func(b *testing.B) {
			access, caller := ourEngine(b, deny, allow), &resource.Caller{ID: call.id}
			b.ReportAllocs()
			for b.Loop() {
				if !access.Decide(caller, call.method, call.md).Allowed {
					b.Fatal("denied")
				}
			}
		})
		b.Run(fmt.Sprintf("grpc-go/%d policies", n), func(b *testing.B) {
			engine, ctx := grpcEngine(b, deny, allow), callContext(serverContext(b), b, call)
			b.ReportAllocs()
			for b.Loop() {
				if !grpcAllows(ctx, b, engine) {
					b.Fatal("denied")
				}
			}
		})
	}
}

// BenchmarkAccessHard is what the index is not made for: all policies of one caller
// and one method, told apart by a header.
func BenchmarkAccessHard(b *testing.B) {
	list := policies{}
	for i := range 1_000 {
		list[fmt.Sprintf("default/p-%d/allow/0", i)] = policy(allOf(method(vote), equals("x-tenant", fmt.Sprint(i))), callers(web))
	}
	access, caller, md := deciding(b, denying(nil), allowing(list)), &resource.Caller{ID: web}, metadata.Pairs("x-tenant", "none")
	b.ReportAllocs()
	for b.Loop() {
		if access.Decide(caller, vote, md).Allowed {
			b.Fatal("allowed")
		}
	}
}

func BenchmarkDecodeAccess(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("%d policies", n), func(b *testing.B) {
			_, allow, _ := benchRules(n)
			list := policies{}
			for _, rule := range allow {
				list[rule.name] = policy(oneOf(method(rule.paths[0])), callers(rule.principals...))
			}
			value := encode(b, routes(inboundRoute(b, "/", denying(nil), allowing(list))))
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := resource.DecodeRouteConfiguration(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// heapOf is the bytes that what build returns holds. It builds twice: the first
// time is also for what protobuf and JSON remember of types.
func heapOf[T any](build func() T) (T, uint64) {
	build()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // pools let go at the second
	runtime.ReadMemStats(&before)
	built := build()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return built, after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// TestMemoryOf10000Policies bounds what they cost: a server holds them as long as
// it runs.
func TestMemoryOf10000Policies(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted, too")
	}
	deny, allow, call := benchRules(10_000)
	ours, ourBytes := heapOf(func() *resource.Access { return ourEngine(t, deny, allow) })
	theirs, theirBytes := heapOf(func() *authz.StaticInterceptor { return grpcEngine(t, deny, allow) })
	t.Logf("10,000 policies take %d bytes here and %d in grpc-go", ourBytes, theirBytes)
	if !ours.Decide(&resource.Caller{ID: call.id}, call.method, call.md).Allowed {
		t.Error("denied")
	}
	if limit := uint64(3 << 20); ourBytes > limit || ourBytes > theirBytes {
		t.Errorf("%d bytes; want at most %d, and less than grpc-go's %d", ourBytes, limit, theirBytes)
	}
	runtime.KeepAlive(theirs)
}
