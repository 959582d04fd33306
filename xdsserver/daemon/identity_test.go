package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// stranger are the credentials of a process that has no certificate, and checks
// that it speaks to xdsserver.
func stranger(d *Daemon) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := d.authority.Trust().Bundle.Verify(s.PeerCertificates[:len(s.PeerCertificates)-1])
			return err
		},
	}
}

// member are the credentials of a process of a service.
func member(t *testing.T, d *Daemon, service string) credentials.TransportCredentials {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := d.authority.Issue(t.Context(), identity.Order{
		ID: spiffe.ServiceID(d.authority.Status().TrustDomain, service), Key: &key.PublicKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := stranger(d)
	c.Certificates = []tls.Certificate{{Certificate: chain, PrivateKey: key}}
	return credentials.NewTLS(c)
}

// forCertificates are the methods of the mesh port that want a client certificate,
// and the one that does not. A method that is new says here which it is.
var forCertificates = map[string]bool{
	"/tulle.identity.v1.IdentityService/Sign":                                          false,
	"/tulle.registry.v1.RegistryService/Register":                                      true,
	"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export":                  true,
	"/tulle.tap.v1.TapService/Report":                                                  true,
	"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": true,
	"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources":  true,
	"/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats":                true,
	"/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus":          true,
	"/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus":         true,
	"/grpc.health.v1.Health/Check":                                                     true,
	"/grpc.health.v1.Health/List":                                                      true,
	"/grpc.health.v1.Health/Watch":                                                     true,
}

func TestNobodyCallsTheMeshPortWithoutACertificate(t *testing.T) {
	c := config(t)
	c.Socket = filepath.Join(t.TempDir(), "tulle", "xds.sock")
	d := run(t, c)
	known := map[string]bool{}
	for service, info := range d.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			method := "/" + service + "/" + m.Name
			known[method] = true
			wants, ok := forCertificates[method]
			if !ok {
				t.Errorf("%s is not in the list of this test: say whether it wants a certificate", method)
				continue
			}
			for _, target := range []string{d.listeners[0].Addr().String(), "unix://" + c.Socket} {
				err := call(t, target, stranger(d), method)
				refused := status.Code(err) == codes.Unauthenticated && strings.Contains(err.Error(), "needs a client certificate")
				if refused != wants {
					t.Errorf("%s without a certificate at %s: %v", method, target, err)
				}
			}
		}
	}
	for method := range forCertificates {
		if !known[method] {
			t.Errorf("%s is no method of the mesh port", method)
		}
	}
}

// call makes a call with an empty message and returns how it ended.
func call(t *testing.T, target string, c *tls.Config, method string) error {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	_ = stream.SendMsg(&emptypb.Empty{})
	_ = stream.CloseSend()
	return stream.RecvMsg(&emptypb.Empty{})
}

func TestThePortSpeaksTLS13Only(t *testing.T) {
	d := run(t, config(t))
	address := d.listeners[0].Addr().String()
	old := stranger(d)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", address, old); err == nil {
		conn.Close()
		t.Error("it speaks TLS 1.2")
	}
	if state := dial(t, address, stranger(d)); state.Version != tls.VersionTLS13 || len(state.PeerCertificates) < 3 {
		t.Errorf("version %x with %d certificates, want TLS 1.3 and a chain up to the root", state.Version, len(state.PeerCertificates))
	}
	// gRPC's own clients check the name they dialled, against roots alone.
	roots := x509.NewCertPool()
	for _, root := range d.authority.Trust().Bundle.Roots() {
		roots.AddCert(root)
	}
	dial(t, address, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1"})
}

func dial(t *testing.T, address string, c *tls.Config) tls.ConnectionState {
	t.Helper()
	c.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", address, c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState()
}

func TestAPortForOtherMachinesWantsAWayToJoin(t *testing.T) {
	for name, test := range map[string]struct {
		listen, enrol string
		oidc          []string
		want          string // of the error; empty for none
	}{
		"the socket alone": {":0", "socket", nil, "--listen :0 is for processes of other machines, and --enrol socket gives them no way to join: " +
			"add token (--enrol socket,token) or an issuer (--oidc), or listen on 127.0.0.1"},
		"none":                          {"0.0.0.0:0", "none", nil, "--enrol none gives them no way"},
		"none, of IPv6":                 {"[::]:0", "none", nil, "--enrol none gives them no way"},
		"the defaults":                  {":0", "", nil, ""},
		"tokens":                        {":0", "token", nil, ""},
		"the socket alone, on loopback": {"127.0.0.1:0", "socket", nil, ""},
		"none, on loopback":             {"[::1]:0", "none", nil, ""},
		"a way that is none":            {"127.0.0.1:0", "socket,magic", nil, `--enrol "magic" is no way to join, want socket, token, both`},
		"none beside others":            {"127.0.0.1:0", "none,token", nil, "--enrol none,token says none beside others"},
		"an issuer":                     {":0", "none", []string{"issuer=https://issuer.test,audience=tulle,identity=ns/ci/svc/{project}"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			c.Listen, c.Enrol, c.OIDC = test.listen, test.enrol, test.oidc
			_, err := c.withDefaults().check()
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			if _, err := New(c); err == nil {
				t.Error("it starts")
			}
			if _, err := os.Stat(c.Data); err == nil {
				t.Error("it left a data directory behind")
			}
		})
	}
}

func TestTheAuthorityIsKeptOverARestart(t *testing.T) {
	c := config(t)
	serial := func() string {
		d, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		return d.authority.Status().Roots[0].Serial
	}
	first := serial()
	if again := serial(); again != first {
		t.Errorf("root %s after a restart, %s before", again, first)
	}

	other := c
	other.TrustDomain = "other.test"
	if _, err := New(other); err == nil || !strings.Contains(err.Error(), DefaultTrustDomain) || !strings.Contains(err.Error(), "other.test") {
		t.Errorf("with another trust domain: %v, want an error that names both", err)
	}

	keys, err := filepath.Glob(filepath.Join(CADir(c.Data), "*.key"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	if err := os.Chmod(keys[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), keys[0]) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("with a key that all can read: %v, want its name and what to do", err)
	}
}

func TestASocketsDirectoryIsItsUsersOwn(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	for name, test := range map[string]struct {
		uid, gid int
		mode     os.FileMode
		want     string
	}{
		"one's own":                          {uid, gid, 0o700, ""},
		"one that others read":               {uid, gid, 0o755, ""},
		"root's":                             {0, 0, 0o755, ""},
		"one that one's own group writes to": {uid, gid, 0o775, ""},
		"one that another group writes to":   {uid, gid + 1, 0o775, "can be written by other users (mode 0775)"},
		"one that everybody writes to":       {uid, gid, 0o777, "can be written by other users (mode 0777)"},
		"somebody else's":                    {uid + 1, gid, 0o700, "belongs to user"},
	} {
		t.Run(name, func(t *testing.T) {
			err := judgeDir("/dir", test.uid, test.gid, test.mode)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	c := config(t)
	c.Socket = filepath.Join(open, "xds.sock")
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
		t.Errorf("got %v, want a refusal and what to do", err)
	}
}

func TestHostsAreThoseThatOthersDial(t *testing.T) {
	for name, test := range map[string]struct {
		listen, advertise string
		want              []string
	}{
		"loopback":                {"127.0.0.1:18000", "", []string{"127.0.0.1"}},
		"a name":                  {"mesh.test:18000", "", []string{"mesh.test"}},
		"what is advertised, too": {"127.0.0.1:18000", "mesh.test:443", []string{"127.0.0.1", "mesh.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := hosts(Config{Listen: test.listen, Advertise: test.advertise})
			if strings.Join(got, " ") != strings.Join(test.want, " ") {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	for _, host := range hosts(Config{Listen: ":18000"}) {
		if isWildcard(host) {
			t.Errorf("%q is a host that nobody dials", host)
		}
	}
}
