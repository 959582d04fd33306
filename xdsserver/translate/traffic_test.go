package translate_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// serviceOf is a Service of the name voting with a spec.
func serviceOf(spec string) string {
	return "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec: {" + spec + "}\n---\n"
}

// ruleOf is a GRPCRoute of the service voting, of one rule.
func ruleOf(fields string) string {
	return "apiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: r}\n" +
		"spec: {parentRefs: [{kind: Service, name: voting}], rules: [{backendRefs: [{name: voting}], " + fields + "}]}\n---\n"
}

// trafficOf is what a client does for calls of a method, as it has decoded it.
func trafficOf(t *testing.T, yaml, method string) *resource.Traffic {
	t.Helper()
	host := decode[*resource.RouteConfiguration](t, load(t, "f", []byte(yaml)), resource.RouteType, "voting").VirtualHost("voting")
	r := host.Match(t.Context(), method)
	if r == nil {
		t.Fatal("no route")
	}
	return new(resource.Config).Traffic(r)
}

func TestTrafficIsTheRulesOverTheServices(t *testing.T) {
	const method = "/a.B/M"
	for _, tt := range []struct {
		name, yaml string
		want       func(*resource.Traffic)
	}{
		{"nothing said is the default", serviceOf(""), func(*resource.Traffic) {}},
		{"what equals the default is the default", serviceOf("retry: {on: [unavailable], attempts: 2, backoff: {base: 25ms, max: 250ms}, bufferBytes: 262144}, retryBudget: {percent: 20, minPerSecond: 10, window: 10s}"), func(*resource.Traffic) {}},
		{"a service's retry", serviceOf("retry: {attempts: 3}"), func(w *resource.Traffic) { w.Retry.Attempts = 3 }},
		{"a rule's retry in place of it, whole", serviceOf("retry: {attempts: 3, perTryTimeout: 1s}") + ruleOf("retry: {idempotent: true}"), func(w *resource.Traffic) {
			w.Retry.Idempotent = true
		}},
		{"an empty retry of a rule", serviceOf("retry: {attempts: 3}") + ruleOf("retry: {}"), func(*resource.Traffic) {}},
		{"no retry", serviceOf("retry: {attempts: 1}"), func(w *resource.Traffic) { w.Retry.Attempts = 1 }},
		{"a backoff grows to ten times its base", serviceOf("retry: {backoff: {base: 1s}}"), func(w *resource.Traffic) {
			w.Retry.BackoffBase, w.Retry.BackoffMax = time.Second, 10*time.Second
		}},
		{"a backoff's base gives way to its end", serviceOf("retry: {backoff: {max: 10ms}}"), func(w *resource.Traffic) {
			w.Retry.BackoffBase, w.Retry.BackoffMax = 10*time.Millisecond, 10*time.Millisecond
		}},
		{"a service's hedge", serviceOf("hedge: {}"), func(w *resource.Traffic) { w.Hedge = &resource.Hedge{Quantile: 0.95, Attempts: 2} }},
		{"a rule that does not hedge", serviceOf("hedge: {}") + ruleOf("hedge: {off: true}"), func(*resource.Traffic) {}},
		{"a rule's hedge", serviceOf("hedge: {}") + ruleOf("hedge: {delay: 20ms, attempts: 3}"), func(w *resource.Traffic) {
			w.Hedge = &resource.Hedge{Delay: 20 * time.Millisecond, Quantile: 0.95, Attempts: 3}
		}},
		{"a breaker of the service with defaults", serviceOf("serviceBreaker: {}"), func(w *resource.Traffic) { w.Breaker = resource.DefaultBreaker() }},
		{"no breaker of the service", serviceOf("serviceBreaker: {off: true}"), func(*resource.Traffic) {}},
		{"timeouts of streams", serviceOf("idleTimeout: 1m, hopCost: 5ms"), func(w *resource.Traffic) { w.IdleTimeout, w.HopCost = time.Minute, 5*time.Millisecond }},
		{"a rule without idle timeout", serviceOf("idleTimeout: 1m") + ruleOf("idleTimeout: 0s"), func(*resource.Traffic) {}},
		{"a rate's burst is a second's worth", serviceOf("rateLimit: {requestsPerSecond: 12.5}"), func(w *resource.Traffic) {
			w.RateLimit = &resource.Rate{PerSecond: 12.5, Burst: 13}
		}},
		{"a mirror of no calls is none", serviceOf("") + "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: web}\n---\n" +
			ruleOf("filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web}, percent: 0}}]"), func(*resource.Traffic) {}},
		{"a mirror", serviceOf("") + "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: web}\n---\n" +
			ruleOf("filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, version: v2}, percent: 5}}]"), func(w *resource.Traffic) {
			w.Mirrors = []resource.Mirror{{Cluster: "web/v2", PerMillion: 50_000, Timeout: time.Second}}
		}},
		{"headers in lower case", serviceOf("") + ruleOf("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: B}], remove: [X-C]}}]"), func(w *resource.Traffic) {
			w.Headers = &resource.Headers{Set: []resource.HeaderValue{{Name: "x-a", Value: "B"}}, Remove: []string{"x-c"}}
		}},
		{"the header of a ring", serviceOf("loadBalancing: {policy: ring-hash, hashHeader: x-user}"), func(w *resource.Traffic) { w.HashHeader = "x-user" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := &resource.Traffic{Retry: resource.DefaultRetry(), Budget: resource.DefaultRetryBudget()}
			tt.want(want)
			if d := cmp.Diff(want, trafficOf(t, tt.yaml, method)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// A number of zero is not set on the wire, where it would be the default.
func TestZeroIsNotTheDefault(t *testing.T) {
	got := trafficOf(t, serviceOf("retryBudget: {percent: 0, minPerSecond: 0}, serviceBreaker: {jitter: 0}"), "/a.B/M")
	for name, n := range map[string]float64{"percent": got.Budget.Percent, "minPerSecond": got.Budget.MinPerSecond, "jitter": got.Breaker.Jitter} {
		if n > 1e-6 {
			t.Errorf("%s: got %v, want as good as nothing", name, n)
		}
	}
}

// A retry is decided by the route, so a method that may be called twice has its own.
func TestIdempotentMethodsAreToldApart(t *testing.T) {
	const methods = "methods: [{name: /a.B/Get, idempotent: true}, {name: /a.C/List, idempotent: true}]"
	for _, tt := range []struct {
		name, yaml string
		want       map[string]bool // whether calls of a method may be made twice
	}{
		{"without routes", serviceOf(methods), map[string]bool{"/a.B/Get": true, "/a.C/List": true, "/a.B/Put": false}},
		{"in a rule for all", serviceOf(methods) + ruleOf("name: all"), map[string]bool{"/a.B/Get": true, "/a.C/List": true, "/a.B/Put": false}},
		{"in a rule for a service", serviceOf(methods) + ruleOf("matches: [{method: {service: a.B}}]"), map[string]bool{"/a.B/Get": true, "/a.B/Put": false}},
		{"in a rule by expression", serviceOf(methods) + ruleOf("matches: [{method: {type: RegularExpression, method: 'G.*|P.*'}}]"), map[string]bool{"/a.B/Get": true, "/a.B/Put": false}},
		{"in a rule for the method", serviceOf(methods) + ruleOf("matches: [{method: {service: a.B, method: Get}}]"), map[string]bool{"/a.B/Get": true}},
		{"where all may be anyway", serviceOf(methods+", retry: {idempotent: true}") + ruleOf("name: all"), map[string]bool{"/a.B/Get": true, "/a.B/Put": true}},
		{"where nothing is retried", serviceOf(methods) + ruleOf("retry: {attempts: 1}"), map[string]bool{"/a.B/Get": false}},
		{"where calls are hedged", serviceOf(methods) + ruleOf("retry: {attempts: 1}, hedge: {}"), map[string]bool{"/a.B/Get": true, "/a.B/Put": false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for method, want := range tt.want {
				if got := trafficOf(t, tt.yaml, method).Retry.Idempotent; got != want {
					t.Errorf("%s: got %v, want %v", method, got, want)
				}
			}
		})
	}
}

func TestAHashHeaderIsThatOfTheServiceThatTakesTheCalls(t *testing.T) {
	yaml := serviceOf("") + "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: cart}\n" +
		"spec: {loadBalancing: {policy: ring-hash, hashHeader: x-cart}}\n---\n" +
		"apiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: r}\n" +
		"spec: {parentRefs: [{kind: Service, name: voting}], rules: [{backendRefs: [{name: cart}]}]}\n"
	if got := trafficOf(t, yaml, "/a.B/M").HashHeader; got != "x-cart" {
		t.Errorf("got %q, want x-cart", got)
	}
	set := load(t, "f", []byte(yaml))
	before := translate.Inputs(set)
	other := *set.Services[model.ServiceName{Namespace: "default", Name: "cart"}]
	other.LoadBalancing = nil
	set.Services[other.Name] = &other
	after := translate.Inputs(set)
	if before[1].SameConfiguration(after[1]) {
		t.Error("the routes of voting are said to be the same where cart is hashed by no header any more")
	}
}

func TestStockClientsRetryOnlyWhatTheOperatorSaysMayBe(t *testing.T) {
	for _, tt := range []struct {
		name, spec string
		want       string
		retries    uint32
	}{
		{"nothing said", "", "", 0},
		{"a retry that is not idempotent", "retry: {attempts: 4}", "", 0},
		{"a retry that is", "retry: {attempts: 4, idempotent: true}", "unavailable", 3},
		{"codes that xDS does not know", "retry: {on: [aborted, internal, unavailable], idempotent: true}", "internal,unavailable", 1},
		{"none that it knows", "retry: {on: [aborted], idempotent: true}", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := routeConfiguration(t, load(t, "f", []byte(serviceOf(tt.spec)))).GetVirtualHosts()[0].GetRoutes()[0].GetRoute().GetRetryPolicy()
			if p.GetRetryOn() != tt.want || p.GetNumRetries().GetValue() != tt.retries {
				t.Errorf("got %v, want %d retries on %q", p, tt.retries, tt.want)
			}
		})
	}
}

// TestNoFieldOfAServiceIsForgotten changes one field after the other: each must be
// seen, or a change of it would not reach anybody.
func TestNoFieldOfAServiceIsForgotten(t *testing.T) {
	plain := model.Service{Name: model.ServiceName{Namespace: "default", Name: "voting"}}
	in := func(s model.Service) translate.Input { return translate.Input{Service: &s} }
	kind := reflect.TypeFor[model.Service]()
	for i := range kind.NumField() {
		changed := plain
		field := kind.Field(i).Name
		v := reflect.ValueOf(&changed).Elem().Field(i)
		switch {
		case v.Kind() == reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case v.Kind() == reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case v.Type() == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
		case v.CanInt():
			v.SetInt(1)
		case v.CanUint():
			v.SetUint(1)
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		case v.Kind() == reflect.String:
			v.SetString("f:1")
		default:
			v.Field(0).SetString("shop")
		}
		seen := !in(plain).SameConfiguration(in(changed)) && !in(plain).SameInbound(in(changed))
		if want := !slices.Contains([]string{"From", "Endpoints"}, field); seen != want {
			t.Errorf("a change of %s is seen: %v, want %v", field, seen, want)
		}
	}
}

// TestGrpcGoAcceptsWhatItIsGiven holds every input against a real client of grpc-go.
func TestGrpcGoAcceptsWhatItIsGiven(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := snapshot.NewBuilder(snapshot.Config{Judge: true, Budget: 20 * time.Second})
	t.Cleanup(b.Close)
	for _, input := range inputs {
		yaml, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Check(t.Context(), load(t, input, yaml)) {
			t.Errorf("%s: %s: %s", input, p.Field, p.Message)
		}
	}
}
