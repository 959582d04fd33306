package spiffe

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestServiceIDIsReadBack(t *testing.T) {
	for service, want := range map[string]string{
		"voting":      "spiffe://example.org/ns/default/svc/voting",
		"voting.shop": "spiffe://example.org/ns/shop/svc/voting",
	} {
		uri := ServiceID("example.org", service)
		if uri != want {
			t.Errorf("%s is %s, want %s", service, uri, want)
		}
		id, err := ParseID(uri)
		if err != nil || id.Service != service || id.TrustDomain != "example.org" || id.String() != uri || id.IsServer() {
			t.Errorf("%s is read as %+v, %v", uri, id, err)
		}
	}
	if id, err := ParseID(ServiceID("example.org", "voting.shop")); err != nil || id.Namespace() != "shop" {
		t.Errorf("namespace %q, %v, want shop", id.Namespace(), err)
	}
	if id, err := ParseID(ServiceID("example.org", "voting")); err != nil || id.Namespace() != DefaultNamespace {
		t.Errorf("namespace %q, %v, want default", id.Namespace(), err)
	}
}

func TestNoServiceIsTheServer(t *testing.T) {
	id, err := ParseID(ServerID("example.org"))
	if err != nil || !id.IsServer() || id.Service != "" || id.Namespace() != "" {
		t.Errorf("got %+v, %v, want the server and no service", id, err)
	}
	if id, err := ParseID(ServiceID("example.org", "xdsserver")); err != nil || id.IsServer() {
		t.Errorf("a service named xdsserver is taken for the server: %+v, %v", id, err)
	}
}

func TestIdentitiesOfOtherFormsAreNoServices(t *testing.T) {
	for _, path := range []string{
		"", "/web", "/ns/default", "/ns/default/svc", "/ns/default/sa/web", "/ns/default/svc/web/extra",
		"/ns/default/svc/Web", "/ns/de.fault/svc/web", "/ns/default/svc/-web", "/ns/default/svc/" + strings.Repeat("w", 64),
	} {
		id, err := ParseID("spiffe://example.org" + path)
		if err != nil || id.Service != "" || id.Path != path {
			t.Errorf("%s: %+v, %v, want an identity that is no service", path, id, err)
		}
	}
}

func TestParseIDRefusesWhatTheStandardDoes(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                    "",
		"another scheme":             "https://example.org/web",
		"an upper-case scheme":       "SPIFFE://example.org/web",
		"an upper-case trust domain": "spiffe://Example.org/web",
		"no trust domain":            "spiffe:///web",
		"a port":                     "spiffe://example.org:80/web",
		"a user":                     "spiffe://me@example.org/web",
		"an empty segment":           "spiffe://example.org/ns//svc/web",
		"a trailing slash":           "spiffe://example.org/web/",
		"a relative segment":         "spiffe://example.org/ns/../web",
		"an escape":                  "spiffe://example.org/we%62",
		"a query":                    "spiffe://example.org/web?x",
		"a fragment":                 "spiffe://example.org/web#x",
		"letters beyond ASCII":       "spiffe://example.org/wéb",
		"more than 2 KiB":            "spiffe://example.org/" + strings.Repeat("w", 2048),
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := ParseID(text); err == nil {
				t.Errorf("%q is read as %+v", text, id)
			}
		})
	}
}

func TestCheckTrustDomain(t *testing.T) {
	for name, good := range map[string]bool{
		"tulle.local": true, "a": true, "a_b-c.d": true,
		"": false, "Tulle": false, "spiffe://a": false, "a/b": false, "a:1": false, strings.Repeat("a", 256): false,
	} {
		if err := CheckTrustDomain(name); (err == nil) != good {
			t.Errorf("%.20q: %v, want good %v", name, err, good)
		}
	}
}

// What is accepted here is what go-spiffe accepts, up to the bound on length, and
// comes back as it was.
func FuzzParseID(f *testing.F) {
	f.Add("spiffe://example.org/ns/default/svc/voting")
	f.Add("spiffe://example.org/xdsserver")
	f.Add("spiffe://example.org/ns/default/svc/voting%2e")
	f.Add("spiffe://Example.org//")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		theirs, theirErr := spiffeid.FromString(text)
		if len(text) <= maxID && (err == nil) != (theirErr == nil) {
			t.Fatalf("%q: %v here, %v in go-spiffe", text, err, theirErr)
		}
		if err != nil {
			return
		}
		if id.String() != text || id.String() != theirs.String() {
			t.Errorf("%q becomes %q, %q in go-spiffe", text, id, theirs)
		}
		if id.Service != "" && ServiceID(id.TrustDomain, id.Service) != text {
			t.Errorf("%q is service %q, whose identity is %q", text, id.Service, ServiceID(id.TrustDomain, id.Service))
		}
		if id.Service != "" && id.IsServer() {
			t.Errorf("%q is both a service and the server", text)
		}
	})
}
