package limit

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	web    = "spiffe://tulle.local/ns/default/svc/web"
	shop   = "spiffe://tulle.local/ns/default/svc/shop"
	vote   = "/voting.v1.Voting/Vote"
	count  = "/voting.v1.Voting/Count"
	health = "/grpc.health.v1.Health/Check"
)

// once is a rate that lets one call through, for as long as a test takes.
var once = resource.Rate{PerSecond: 0.001, Burst: 1}

// A made call is one of a test, and which limit refuses it; empty for none.
type made struct {
	caller, method, user string
	want                 string
}

func TestAdmit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits []resource.RateLimit
		calls  []made
	}{
		{"no limits let all through", nil, []made{{web, vote, "", ""}, {web, vote, "", ""}}},
		{
			"a total counts all calls together",
			[]resource.RateLimit{{Name: "all", Per: resource.PerTotal, Rate: once}},
			[]made{{web, vote, "", ""}, {shop, count, "", "all"}},
		},
		{
			"each caller has its own, and those without an identity have one together",
			[]resource.RateLimit{{Name: "each", Per: resource.PerIdentity, Rate: once}},
			[]made{{web, vote, "", ""}, {shop, vote, "", ""}, {web, count, "", "each"}, {"", vote, "", ""}, {"", vote, "", "each"}},
		},
		{
			"each method has its own",
			[]resource.RateLimit{{Name: "each", Per: resource.PerMethod, Rate: once}},
			[]made{{web, vote, "", ""}, {web, count, "", ""}, {shop, vote, "", "each"}},
		},
		{
			"each value of metadata has its own, and those without it have one together",
			[]resource.RateLimit{{Name: "each", Per: resource.PerMetadata, MetadataKey: "x-user", Rate: once}},
			[]made{{web, vote, "ann", ""}, {web, vote, "bob", ""}, {shop, vote, "ann", "each"}, {web, vote, "", ""}, {web, vote, "", "each"}},
		},
		{
			"a limit is for its methods only",
			[]resource.RateLimit{{Name: "some", Rate: once, Methods: []string{count, "/grpc.health.v1.Health/*"}}},
			[]made{{web, vote, "", ""}, {web, count, "", ""}, {web, vote, "", ""}, {web, health, "", "some"}},
		},
		{
			"a limit is for its callers only",
			[]resource.RateLimit{{Name: "some", Rate: once, Callers: []string{web}}},
			[]made{{shop, vote, "", ""}, {shop, vote, "", ""}, {web, vote, "", ""}, {web, vote, "", "some"}, {"", vote, "", ""}, {"", vote, "", ""}},
		},
		{
			"all limits must hold, and a refused call takes nothing from the others",
			[]resource.RateLimit{
				{Name: "each", Per: resource.PerIdentity, Rate: once},
				{Name: "all", Per: resource.PerTotal, Rate: resource.Rate{PerSecond: 0.001, Burst: 2}},
			},
			[]made{{web, vote, "", ""}, {web, vote, "", "each"}, {web, vote, "", "each"}, {shop, vote, "", ""}, {"", vote, "", "all"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(0, 0)
			limits := Compile(tt.limits, nil, now)
			for i, c := range tt.calls {
				refused := limits.Admit(incoming(t.Context(), c.user), &Call{Service: "voting", Caller: c.caller, Method: c.method}, now)
				got := ""
				if refused != nil {
					_, got, _ = strings.Cut(refused.Detail, `"`)
					got, _, _ = strings.Cut(got, `"`)
				}
				if got != c.want {
					t.Errorf("call %d: refused by %q, want %q: %v", i, got, c.want, refused)
				}
			}
		})
	}
}

func incoming(ctx context.Context, user string) context.Context {
	if user == "" {
		return ctx
	}
	return metadata.NewIncomingContext(ctx, metadata.Pairs("x-user", user))
}

func TestARefusalNamesTheLimitAndWhen(t *testing.T) {
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		per  resource.RatePer
		want string
	}{
		{resource.PerTotal, `mesh: rate limit "l" of voting: it takes 4 calls a second, 1 at once; try: call again after 250ms; the limits: xdsserver routes voting -o wide`},
		{resource.PerIdentity, `mesh: rate limit "l" of voting: it takes 4 calls a second of one caller, 1 at once; try: call again after 250ms; the limits: xdsserver routes voting -o wide`},
		{resource.PerMethod, `mesh: rate limit "l" of voting: it takes 4 calls a second of one method, 1 at once; try: call again after 250ms; the limits: xdsserver routes voting -o wide`},
		{resource.PerMetadata, `mesh: rate limit "l" of voting: it takes 4 calls a second of one x-user, 1 at once; try: call again after 250ms; the limits: xdsserver routes voting -o wide`},
	} {
		limits := Compile([]resource.RateLimit{{Name: "l", Per: tt.per, MetadataKey: "x-user", Rate: resource.Rate{PerSecond: 4, Burst: 1}}}, nil, now)
		c := &Call{Service: "voting", Caller: web, Method: vote}
		limits.Admit(t.Context(), c, now)
		e := limits.Admit(t.Context(), c, now)
		if e == nil || e.Error() != tt.want || e.Code != codes.ResourceExhausted || e.Reason != call.RateLimited || e.RetryAfter != 250*time.Millisecond {
			t.Errorf("got %+v, want %s", e, tt.want)
		}
	}
}

func TestWhatWasCountedSurvivesAChange(t *testing.T) {
	now := time.Unix(0, 0)
	base := resource.RateLimit{Name: "each", Per: resource.PerIdentity, Rate: once, Methods: []string{vote}}
	for _, tt := range []struct {
		name   string
		change func(l *resource.RateLimit)
		kept   bool
	}{
		{"of something else", func(*resource.RateLimit) {}, true},
		{"unless the rate changes", func(l *resource.RateLimit) { l.Rate.Burst = 2 }, false},
		{"or what is counted", func(l *resource.RateLimit) { l.Per = resource.PerTotal }, false},
		{"or which calls it is for", func(l *resource.RateLimit) { l.Callers = []string{web} }, false},
		{"or its name", func(l *resource.RateLimit) { l.Name = "one" }, false},
	} {
		c := &Call{Service: "voting", Caller: web, Method: vote}
		limits := Compile([]resource.RateLimit{base}, nil, now)
		limits.Admit(t.Context(), c, now)
		changed := base
		tt.change(&changed)
		other := resource.RateLimit{Name: "other", Rate: resource.Rate{PerSecond: 1e6, Burst: 1e6}}
		limits = Compile([]resource.RateLimit{other, changed}, limits, now)
		if kept := limits.Admit(t.Context(), c, now) != nil; kept != tt.kept {
			t.Errorf("%s: kept %v, want %v", tt.name, kept, tt.kept)
		}
	}
	if Compile(nil, Compile([]resource.RateLimit{base}, nil, now), now) != nil {
		t.Error("limits that are gone are there")
	}
}

func TestMadeUpKeys(t *testing.T) {
	now := time.Unix(0, 0)
	slow := resource.Rate{PerSecond: 1, Burst: 1}
	k := newKeys(slow, 1600, now)
	let := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if ok, _ := k.get(fmt.Sprint("made up ", i, strings.Repeat("!", i%100*100)), now).Allow(now); ok {
				n++
			}
		}
		return n
	}
	if n := let(0, 1000); n != 1000 || k.len() != 1000 {
		t.Errorf("%d of a thousand keys were let through, %d are known", n, k.len())
	}
	// All are busy, so that what comes now shares one limiter.
	if n := let(1000, 10_000); n < 500 || n > 601 || k.len() != 1600 {
		t.Errorf("%d of nine thousand keys were let through, %d are known", n, k.len())
	}
	if n := let(0, 1000); n != 0 {
		t.Errorf("%d of the first keys were forgotten", n)
	}
	// When they have their bursts again they can be forgotten. That none is found among
	// some although there are is rare.
	now = now.Add(time.Second)
	if n := let(10_000, 11_000); n < 950 || k.len() > 1600 {
		t.Errorf("%d of a thousand new keys were let through, %d are known", n, k.len())
	}
}

func TestConcurrentCallersOfManyKeys(t *testing.T) {
	now := time.Unix(0, 0)
	limits := Compile([]resource.RateLimit{{Name: "each", Per: resource.PerMetadata, MetadataKey: "x-user", Rate: resource.Rate{PerSecond: 0.001, Burst: 5}}}, nil, now)
	var taken atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for i := range 1000 {
				ctx := incoming(t.Context(), fmt.Sprint("user ", i%100))
				if limits.Admit(ctx, &Call{Service: "voting", Method: vote}, now) == nil {
					taken.Add(1)
				}
			}
		})
	}
	callers.Wait()
	if n := taken.Load(); n != 500 {
		t.Errorf("%d calls were let through, want five of each of a hundred", n)
	}
}

func FuzzAdmit(f *testing.F) {
	f.Add(web, vote, "ann")
	f.Add("", "", "")
	f.Add("*", "/*", "\x00\xff")
	now := time.Unix(0, 0)
	f.Fuzz(func(t *testing.T, caller, method, user string) {
		limits := Compile([]resource.RateLimit{
			{Name: "total", Rate: resource.Rate{PerSecond: 1, Burst: 1e6}},
			{Name: "identity", Per: resource.PerIdentity, Rate: once, Methods: []string{vote, "/voting.v1.Voting/*"}},
			{Name: "method", Per: resource.PerMethod, Rate: once, Callers: []string{web}},
			{Name: "user", Per: resource.PerMetadata, MetadataKey: "x-user", Rate: once},
		}, nil, now)
		c := &Call{Service: "voting", Caller: caller, Method: method}
		if e := limits.Admit(incoming(t.Context(), user), c, now); e != nil {
			t.Errorf("the first call is refused: %v", e)
		}
		if limits.Admit(incoming(t.Context(), user), c, now) == nil {
			t.Error("the second of one user is let through")
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	plenty := resource.Rate{PerSecond: 1e9, Burst: 1e9}
	c := &Call{Service: "voting", Caller: web, Method: vote}
	for _, bb := range []struct {
		name   string
		limits []resource.RateLimit
	}{
		{"total", []resource.RateLimit{{Name: "a", Rate: plenty}}},
		{"identity", []resource.RateLimit{{Name: "a", Per: resource.PerIdentity, Rate: plenty}}},
		{"three", []resource.RateLimit{
			{Name: "a", Rate: plenty, Methods: []string{vote}},
			{Name: "b", Per: resource.PerIdentity, Rate: plenty, Callers: []string{shop, web}},
			{Name: "c", Per: resource.PerMethod, Rate: plenty},
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			now := time.Now()
			limits := Compile(bb.limits, nil, now)
			ctx := b.Context()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if limits.Admit(ctx, c, now) != nil {
						b.Fatal("refused")
					}
				}
			})
		})
	}
}
