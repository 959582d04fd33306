package registry

import (
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestBadRequestsAreRefusedByField(t *testing.T) {
	set := func(f func(*registryv1.RegisterRequest)) *registryv1.RegisterRequest {
		return voting("a", "10.0.0.1:80", f)
	}
	at := func(addresses ...string) *registryv1.RegisterRequest {
		return set(func(r *registryv1.RegisterRequest) { r.Addresses = addresses })
	}
	for name, c := range map[string]struct {
		request *registryv1.RegisterRequest
		field   string
		words   string
	}{
		"nothing":                 {&registryv1.RegisterRequest{}, "service", "set it"},
		"upper case service":      {set(func(r *registryv1.RegisterRequest) { r.Service = "Voting" }), "service", "a-z"},
		"namespace with a dot":    {set(func(r *registryv1.RegisterRequest) { r.Namespace = "a.b" }), "namespace", "a-z"},
		"no instance":             {set(func(r *registryv1.RegisterRequest) { r.Instance = "" }), "instance", "set it"},
		"instance with a slash":   {set(func(r *registryv1.RegisterRequest) { r.Instance = "a/b" }), "instance", "letters"},
		"instance with a newline": {set(func(r *registryv1.RegisterRequest) { r.Instance = "a\nb" }), "instance", "letters"},
		"long instance":           {set(func(r *registryv1.RegisterRequest) { r.Instance = strings.Repeat("a", 129) }), "instance", "128"},
		"version with a slash":    {set(func(r *registryv1.RegisterRequest) { r.Version = "v/1" }), "version", "letters"},
		"version ends in a dash":  {set(func(r *registryv1.RegisterRequest) { r.Version = "v-" }), "version", "letters"},
		"long region":             {set(func(r *registryv1.RegisterRequest) { r.Region = strings.Repeat("a", 64) }), "region", "63"},
		"zone with a space":       {set(func(r *registryv1.RegisterRequest) { r.Zone = "eu 1" }), "zone", "letters"},
		"heavy weight":            {set(func(r *registryv1.RegisterRequest) { r.Weight = 10_001 }), "weight", "divide"},
		"no state":                {set(state(registryv1.State_STATE_UNSPECIFIED)), "state", "STATE_SERVING"},
		"unknown state":           {set(state(99)), "state", "99"},
		"no address":              {at(), "addresses", "1 to 8"},
		"nine addresses":          {at(make([]string, 9)...), "addresses", "1 to 8"},
		"empty address":           {at(""), "addresses[0]", "no IP:port"},
		"host name":               {at("localhost:80"), "addresses[0]", "no IP:port"},
		"no port":                 {at("10.0.0.1"), "addresses[0]", "no IP:port"},
		"port 0":                  {at("10.0.0.1:0"), "addresses[0]", "port 0"},
		"port 65536":              {at("10.0.0.1:65536"), "addresses[0]", "no IP:port"},
		"named port":              {at("10.0.0.1:http"), "addresses[0]", "no IP:port"},
		"IPv4 wildcard":           {at("10.0.0.1:80", "0.0.0.0:80"), "addresses[1]", "wildcard"},
		"IPv6 wildcard":           {at("[::]:80"), "addresses[0]", "wildcard"},
		"mapped wildcard":         {at("[::ffff:0.0.0.0]:80"), "addresses[0]", "wildcard"},
		"multicast":               {at("224.0.0.1:80"), "addresses[0]", "one machine"},
		"broadcast":               {at("255.255.255.255:80"), "addresses[0]", "one machine"},
		"zoned":                   {at("[fe80::1%eth0]:80"), "addresses[0]", "zone"},
		"twice in other words":    {at("10.0.0.1:80", "[::ffff:10.0.0.1]:80"), "addresses[1]", "twice"},
		"endless":                 {at(strings.Repeat("1", 1<<20)), "addresses[0]", "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(c.request)
			wantStatus(t, err, "InvalidArgument", "registry: "+c.field+": ", c.words)
			if len(err.Error()) > 400 {
				t.Errorf("the error repeats %d bytes", len(err.Error()))
			}
		})
	}
}

func TestGoodRequestsAreTakenInCanonicalForm(t *testing.T) {
	request := voting("web-5d8f9:8080@host_1.x", "[::ffff:10.0.0.1]:80")
	request.Addresses = append(request.Addresses, "[2001:DB8::0:1]:8080", "127.0.0.1:1")
	request.Version, request.Zone, request.Weight = "1.2.3-rc_1", "", 10_000
	e, err := parse(request)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(e.Addresses, " "); got != "10.0.0.1:80 [2001:db8::1]:8080 127.0.0.1:1" {
		t.Errorf("addresses: got %q", got)
	}
	if e.Service != (model.ServiceName{Namespace: "default", Name: "voting"}) || e.Health != model.Healthy {
		t.Errorf("got %+v", e)
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range []*registryv1.RegisterRequest{
		voting("a", "10.0.0.1:80"),
		voting("a", "[::1%x]:0", state(registryv1.State_STATE_LEAVING)),
		{},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r registryv1.RegisterRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		e, err := parse(&r)
		if err != nil {
			return
		}
		if e.Instance == "" || e.Service.Name == "" || e.Service.Namespace == "" || len(e.Addresses) == 0 {
			t.Errorf("took %+v", e)
		}
		for _, a := range e.Addresses {
			if ap, err := netip.ParseAddrPort(a); err != nil || ap.String() != a || ap.Port() == 0 {
				t.Errorf("took address %q", a)
			}
		}
	})
}
