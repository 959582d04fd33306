package xdsclient

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestStreamAsksByNameAndAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		f.set(typeB, "one", "v2", "one=2")
		cfg := config(n, "a")
		h := newClient(t, cfg)
		b, a, a2 := h.watch(typeB, "one"), h.watch(typeA, "one"), h.watch(typeA, "one")
		h.run()
		synctest.Wait()
		a.want(t, "1@v1")
		a2.want(t, "1@v1")
		b.want(t, "2@v2")
		for _, w := range []*watch{a, a2, b} {
			if got := w.tellings(); got != 1 {
				t.Errorf("told %d times, want once", got)
			}
		}
		want := []*discoveryv3.DeltaDiscoveryRequest{
			{Node: &corev3.Node{Id: cfg.Node.GetId(), Cluster: cfg.Node.GetCluster()}, TypeUrl: typeA, ResourceNamesSubscribe: []string{"one"}},
			{TypeUrl: typeB, ResourceNamesSubscribe: []string{"one"}},
			{TypeUrl: typeA, ResponseNonce: "a-1"},
			{TypeUrl: typeB, ResponseNonce: "a-2"},
		}
		if diff := cmp.Diff(want, f.take(), protocmp.Transform()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}

		a.Close()
		synctest.Wait()
		if got := f.take(); len(got) != 0 {
			t.Errorf("closing one of two subscriptions sent %v", got)
		}
		a2.Close()
		a2.Close()
		synctest.Wait()
		want = []*discoveryv3.DeltaDiscoveryRequest{{TypeUrl: typeA, ResourceNamesUnsubscribe: []string{"one"}}}
		if diff := cmp.Diff(want, f.take(), protocmp.Transform()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		f.set(typeA, "one", "v3", "one=3")
		synctest.Wait()
		a.want(t, "1@v1")
		if got := a.tellings() + a2.tellings(); got != 0 {
			t.Errorf("closed subscriptions were told %d times", got)
		}
	})
}

func TestResponsesAreAppliedResourceByResource(t *testing.T) {
	const (
		refusedTwo = `error: xdsclient: Alpha "two", version "v2", was refused: `
		keptOne    = `1@v1 but xdsclient: Alpha "one", version "v2", was refused: `
	)
	ttl := &discoveryv3.Resource{Name: "one", Version: "v1", Ttl: durationpb.New(time.Minute)}
	for _, test := range []struct {
		name     string
		response *discoveryv3.DeltaDiscoveryResponse
		// one is held as 1@v1 before, two was never sent.
		one, two string
		told     int // of one
		nack     string
	}{
		{
			name:     "a new version of one and a first of two",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "one=2"), res("two", "v2", "two=2")}},
			one:      "2@v2", two: "2@v2", told: 1,
		},
		{
			name:     "the same bytes as another version",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "one=1")}},
			one:      "1@v2",
		},
		{
			name:     "a bad resource beside a good one",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "one=2"), res("two", "v2", "two=bad")}},
			one:      "2@v2", two: refusedTwo + "text: bad is not good enough", told: 1,
			nack: `Alpha "two": text: bad is not good enough`,
		},
		{
			name: "two bad resources",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{
				res("one", "v2", "one=bad"), res("two", "v2", "x"),
			}},
			one: keptOne + "text: bad is not good enough", two: refusedTwo + "there is no =", told: 1,
			nack: `Alpha "one": text: bad is not good enough; Alpha "two": there is no =`,
		},
		{
			name:     "a resource the decoder panics on",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "one=panic")}},
			one:      keptOne + "its decoder panicked: the decoder met a bug", told: 1,
			nack: `Alpha "one": its decoder panicked: the decoder met a bug`,
		},
		{
			name:     "a resource with another name inside",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "three=2")}},
			one:      keptOne + `its content is named "three"`, told: 1,
			nack: `Alpha "one": its content is named "three"`,
		},
		{
			name: "a resource of another type",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{
				{Name: "one", Version: "v2", Resource: &anypb.Any{TypeUrl: typeB, Value: []byte("one=2")}},
			}},
			one: keptOne + `its content is a "` + typeB + `"`, told: 1,
			nack: `Alpha "one": its content is a "` + typeB + `"`,
		},
		{
			name:     "a resource without content",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{{Name: "one", Version: "v2"}}},
			one:      keptOne + "it has no content", told: 1,
			nack: `Alpha "one": it has no content`,
		},
		{
			name:     "a heartbeat of the version held",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{ttl}},
			one:      "1@v1",
		},
		{
			name:     "a resource without a name",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("", "v2", "one=2"), res("two", "v2", "two=2")}},
			one:      "1@v1", two: "2@v2",
			nack: "resource 0 of the response has no name",
		},
		{
			name: "a resource named by a ResourceName",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{{
				ResourceName: &discoveryv3.ResourceName{Name: "one"}, Version: "v2",
				Resource: &anypb.Any{TypeUrl: typeA, Value: []byte("one=2")},
			}}},
			one: "2@v2", told: 1,
		},
		{
			name:     "the same resource twice",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "one=2"), res("one", "v2", "one=2")}},
			one:      "2@v2", told: 1,
		},
		{
			name:     "a resource twice with different content",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("one", "v2", "one=2"), res("one", "v3", "one=3")}},
			one:      keptOne + "it is twice in the response, with different content", told: 1,
			nack: `Alpha "one": it is twice in the response, with different content`,
		},
		{
			name:     "resources nobody asked for, and one that was",
			response: &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{res("three", "v2", "three=bad"), res("two", "v2", "two=2")}},
			one:      "1@v1", two: "2@v2",
		},
		{
			name:     "a response without resources",
			response: &discoveryv3.DeltaDiscoveryResponse{},
			one:      "1@v1",
		},
		{
			name:     "a removal of all",
			response: &discoveryv3.DeltaDiscoveryResponse{RemovedResources: []string{"one", "two", "three"}},
			one:      `1@v1 but xdsclient: Alpha "one" is not known to a`, two: `error: xdsclient: Alpha "two" is not known to a`, told: 1,
		},
		{
			name:     "a removal by ResourceName",
			response: &discoveryv3.DeltaDiscoveryResponse{RemovedResourceNames: []*discoveryv3.ResourceName{{Name: "two"}}},
			one:      "1@v1", two: `error: xdsclient: Alpha "two" is not known to a`,
		},
		{
			name: "a resource both given and removed",
			response: &discoveryv3.DeltaDiscoveryResponse{
				Resources: []*discoveryv3.Resource{res("one", "v2", "one=2")}, RemovedResources: []string{"one"},
			},
			one: "2@v2", told: 1,
			nack: `Alpha "one": it is both given and removed`,
		},
		{
			name: "errors of the server's own",
			response: &discoveryv3.DeltaDiscoveryResponse{ResourceErrors: []*discoveryv3.ResourceError{
				{ResourceName: &discoveryv3.ResourceName{Name: "one"}, ErrorDetail: &statuspb.Status{Code: int32(codes.Internal), Message: "db down"}},
				{ResourceName: &discoveryv3.ResourceName{Name: "two"}, ErrorDetail: &statuspb.Status{Code: int32(codes.NotFound)}},
				{ResourceName: &discoveryv3.ResourceName{Name: "three"}},
			}},
			one: `1@v1 but xdsclient: Alpha "one": the server reports: rpc error: code = Internal desc = db down`,
			two: `error: xdsclient: Alpha "two" is not known to a`, told: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				f := newServer(t, n, "a")
				f.set(typeA, "one", "v1", "one=1")
				h := startClient(t, config(n, "a"))
				one := h.watch(typeA, "one")
				synctest.Wait()
				f.setMute(true)
				two := h.watch(typeA, "two")
				synctest.Wait()
				f.setMute(false)
				one.tellings()
				f.take()

				// The fake's own answer for two would come first.
				test.response.TypeUrl = typeA
				f.update(func() {
					for s := range f.streams {
						delete(s.due, key{typeA, "two"})
						s.raw = append(s.raw, test.response)
					}
				})
				synctest.Wait()
				one.want(t, test.one)
				if test.two == "" {
					test.two = "nothing unknown"
				}
				two.want(t, test.two)
				if got := one.tellings(); got != test.told {
					t.Errorf("the subscriber of one was told %d times, want %d", got, test.told)
				}
				want := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeA, ResponseNonce: "a-2"}
				if test.nack != "" {
					want.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: test.nack}
				}
				if diff := cmp.Diff([]*discoveryv3.DeltaDiscoveryRequest{want}, f.take(), protocmp.Transform()); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestRefusedResourceIsReplacedByTheNextGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=bad")
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		synctest.Wait()
		var rejected *RejectedError
		if st := one.State(); !errors.As(st.Err, &rejected) || rejected.Version != "v1" || !st.Known {
			t.Errorf("state is %+v, want a RejectedError of v1", st)
		}
		f.set(typeA, "one", "v2", "one=2")
		synctest.Wait()
		one.want(t, "2@v2")
		for range 3 { // a server that does not learn
			f.send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeA, Resources: []*discoveryv3.Resource{res("one", "v3", "one=bad")}})
			synctest.Wait()
		}
		if st := one.State(); !errors.As(st.Ambient, &rejected) || st.Value != "2" {
			t.Errorf("state is %+v, want 2 with an ambient RejectedError", st)
		}
		if got := one.tellings(); got != 3 {
			t.Errorf("told %d times, want 3: refused, good, refused", got)
		}
		h.log.wantCount(t, "resource refused", 2)
		// The server goes back to what is held.
		f.send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeA, Resources: []*discoveryv3.Resource{res("one", "v2", "one=2")}})
		synctest.Wait()
		one.want(t, "2@v2")
		if got := one.tellings(); got != 1 {
			t.Errorf("told %d times, want once: the ambient error is gone", got)
		}
	})
}

func TestTypesNotAskedForAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		synctest.Wait()
		f.take()
		for range 2 {
			f.send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: "type.googleapis.com/test.v1.Gamma", Resources: []*discoveryv3.Resource{{Name: "x"}}})
			f.send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeB, RemovedResources: []string{"one"}})
		}
		synctest.Wait()
		if got := f.take(); len(got) != 0 {
			t.Errorf("answered %v: the first request of a type would ask for everything", got)
		}
		one.want(t, "1@v1")
		h.log.wantCount(t, "response of a type not asked for", 2)
	})
}

func TestInterestThatComesBackIsAlwaysAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		synctest.Wait()
		f.take()

		// Before the unsubscription is sent: nothing is said, nothing is lost.
		one.Close()
		one = h.watch(typeA, "one")
		one.want(t, "1@v1")
		synctest.Wait()
		if got := f.take(); len(got) != 0 {
			t.Errorf("sent %v", got)
		}

		// After it is sent: the server is asked anew, and what is remembered
		// waits for its answer.
		one.Close()
		synctest.Wait()
		f.set(typeA, "one", "v2", "one=2")
		one = h.watch(typeA, "one")
		one.want(t, "nothing unknown")
		synctest.Wait()
		one.want(t, "2@v2")

		// The server is silent: what is remembered is used after a while.
		one.Close()
		synctest.Wait()
		f.setMute(true)
		one = h.watch(typeA, "one")
		settle(rememberAfter - keepGap)
		one.want(t, "nothing unknown")
		settle(3 * keepGap)
		one.want(t, "2@v2 stale")
		f.setMute(false)
		synctest.Wait()
		one.want(t, "2@v2")
	})
}

func TestChangeIsNotLostBetweenTheEndOfInterestAndItsReturn(t *testing.T) {
	h := newClient(t, config(newNetwork(), "a"))
	s := &session{target: "a", strange: map[string]bool{}, asked: make([]bool, 2), spoken: make([]bool, 2)}
	h.begin(s)
	respond := func(version, content string) {
		h.handle(s, wire(t, &discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: typeA, Resources: []*discoveryv3.Resource{res("one", version, content)},
		}))
	}
	one := h.watch(typeA, "one")
	h.requests(s)
	respond("v1", "one=1")
	one.Close()
	respond("v2", "one=2") // before the server hears of the end: it will not say this again
	one = h.watch(typeA, "one")
	one.want(t, "2@v2")
	if got := h.requests(s); len(got) != 0 {
		t.Errorf("sent %v, want nothing: the server tracks the name all the time", got)
	}
}

func TestResourcesThatCannotBeAskedForAreAnsweredAtOnce(t *testing.T) {
	n := newNetwork()
	h := newClient(t, config(n, "a"))
	for _, test := range []struct{ name, typeURL, resource, want string }{
		{"a type that is not configured", "x/test.v1.Gamma", "one", `xdsclient: Gamma "one": the type is not in Config.Types`},
		{"an empty name", typeA, "", `xdsclient: Alpha "": wildcards are not asked for: name a resource`},
		{"a wildcard", typeA, "*", `xdsclient: Alpha "*": wildcards are not asked for: name a resource`},
		{"a name that protobuf cannot carry", typeA, "\xff", `xdsclient: Alpha "\xff": the name is not valid UTF-8`},
		{"a name that is too long", typeA, strings.Repeat("x", maxName+1), "xdsclient: a name of 4097 bytes: the most is 4096"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := h.Subscribe(test.typeURL, test.resource, nil)
			defer s.Close()
			if st := s.State(); !st.Known || st.Err == nil || st.Err.Error() != test.want {
				t.Errorf("state is %+v, want the error %q", st, test.want)
			}
		})
	}
	t.Run("one name too many", func(t *testing.T) {
		h.mu.Lock()
		h.count = maxResources
		h.mu.Unlock()
		st := h.Subscribe(typeA, "one", nil).State()
		if st.Err == nil || !strings.Contains(st.Err.Error(), "more than 100000 resources") {
			t.Errorf("state is %+v", st)
		}
	})
}

func TestNackTextIsBoundedAndValid(t *testing.T) {
	problems := []string{strings.Repeat("é", maxDetail), "second", "third"}
	got := detail(problems)
	if len(got) > maxDetail+64 || !strings.HasSuffix(got, "; and 2 more") {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-20:])
	}
	if got := detail([]string{"a \xff b"}); got != "a \uFFFD b" {
		t.Errorf("got %q", got)
	}
}

func TestHugeResponseEndsTheStreamAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		synctest.Wait()
		f.send(&discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: typeA, Resources: []*discoveryv3.Resource{res("one", "v2", "one="+strings.Repeat("x", maxMessage))},
		})
		settle(staleAfter)
		one.want(t, "1@v1")
		if got := f.streamsOpened(); got != 2 {
			t.Errorf("%d streams were opened, want 2", got)
		}
	})
}
