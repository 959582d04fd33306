package resolver

import (
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/call"
)

func parse(tb testing.TB, target string) resolver.Target {
	tb.Helper()
	u, err := url.Parse(target)
	if err != nil {
		tb.Fatal(err)
	}
	return resolver.Target{URL: *u}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		name, target, want string
	}{
		{"a name is a service of the default namespace", "mesh:///voting", "voting"},
		{"a namespace follows a dot", "mesh:///voting.shop", "voting.shop"},
		{"the default namespace may be named", "mesh:///voting.default", "voting"},
		{"one slash will do", "mesh:/voting", "voting"},
		{"no slash will do", "mesh:voting", "voting"},
		{"the scheme's case does not matter", "MESH:///voting", "voting"},
		{"digits and dashes are good names", "mesh:///v-0.a-1", "v-0.a-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, failure := serviceOf(parse(t, tt.target))
			if failure != nil || got != tt.want {
				t.Errorf("serviceOf(%s) = %q, %v, want %q", tt.target, got, failure, tt.want)
			}
		})
	}
}

func TestBadTargets(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, tt := range []struct {
		name, target, want string
	}{
		{"no name", "mesh:///", `target "mesh:///": it names no service`},
		{"two slashes", "mesh://voting", `"voting" stands where an authority would, and a mesh has none: write three slashes`},
		{"an authority", "mesh://other/voting", `"other" stands where an authority would`},
		{"upper case", "mesh:///Voting", `service "Voting": name may hold only a-z, 0-9 and '-', not 'V'`},
		{"a port", "mesh:///voting:8080", `may hold only a-z, 0-9 and '-', not ':'`},
		{"a path", "mesh:///voting/v2", `not '/'`},
		{"an empty namespace", "mesh:///voting.", `service "voting.": namespace is empty`},
		{"an empty name", "mesh:///.shop", `service ".shop": name is empty`},
		{"a domain", "mesh:///voting.shop.svc", `more than one '.'`},
		{"a dash at the end", "mesh:///voting-", `begins or ends with '-'`},
		{"a long name", "mesh:///" + long, "is longer than 63 characters"},
		{"a query", "mesh:///voting?v=2", "nothing may follow the service's name"},
		{"a fragment", "mesh:///voting#2", "nothing may follow the service's name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, failure := serviceOf(parse(t, tt.target))
			if failure == nil {
				t.Fatal("the target is taken")
			}
			if !strings.Contains(failure.Error(), tt.want) {
				t.Errorf("got %s\nwant %s", failure, tt.want)
			}
			if !strings.HasSuffix(failure.Error(), "; try: mesh:///name or mesh:///name.namespace") {
				t.Errorf("no advice: %s", failure)
			}
			if failure.Reason != call.BadTarget || failure.Code != codes.Internal {
				t.Errorf("got %+v", failure)
			}
		})
	}
}

func FuzzServiceName(f *testing.F) {
	for _, seed := range []string{"voting", "voting.shop", "voting.default", "", ".", "a..b", "-", "Ä", "a.b.c", "a/b", strings.Repeat("x", 70)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		service, err := ServiceName(name)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := ServiceName(service)
		if err != nil || again != service {
			t.Errorf("the canonical name of %q is %q, and of that %q, %v", name, service, again, err)
		}
		if service == "" || len(service) > 127 || strings.HasSuffix(service, ".default") {
			t.Errorf("%q is no canonical name", service)
		}
	})
}
