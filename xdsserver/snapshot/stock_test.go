package snapshot_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

const domain = "tulle.local"

// An authority issues identities into files, as stock programs read them.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "root of a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// bootstrap is what a stock program of the service starts from.
func (a *authority) bootstrap(t *testing.T, server, service string) []byte {
	t.Helper()
	id, err := url.Parse(spiffe.ServiceID(domain, service))
	if err != nil {
		t.Fatal(err)
	}
	leaf, key := a.sign(t, &x509.Certificate{
		URIs: []*url.URL{id}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"svid.pem":   {Type: "CERTIFICATE", Bytes: leaf.Raw},
		"key.pem":    {Type: "PRIVATE KEY", Bytes: der},
		"bundle.pem": {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Appendf(nil, `{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
		"node": {"id": "%s/1", "cluster": %q},
		"server_listener_resource_name_template": "tulle/server/%s/%%s",
		"certificate_providers": {"tulle": {"plugin_name": "file_watcher", "config": {
			"certificate_file": %q, "private_key_file": %q, "ca_certificate_file": %q, "refresh_interval": "600s"}}}
	}`, server, service, service, service,
		filepath.Join(dir, "svid.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "bundle.pem"))
}

// counting counts the connections it accepts.
type counting struct {
	net.Listener
	accepted *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
}

// serving runs a server until the test ends.
func serving(t *testing.T, lis net.Listener, s interface {
	Serve(net.Listener) error
	Stop()
},
) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(lis)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

type healthy struct {
	healthpb.UnimplementedHealthServer
}

func (healthy) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// TestStockServersAndClientsDoAsTheyAreTold runs grpc-go's own xDS server and client
// on what is published: mutual TLS, policies, and no connection lost to a policy.
func TestStockServersAndClientsDoAsTheyAreTold(t *testing.T) {
	lis := listen(t)
	accepted := new(atomic.Int64)
	a := newAuthority(t)
	voting := model.ServiceName{Namespace: model.DefaultNamespace, Name: "voting"}
	endpoint := model.Endpoint{Service: voting, Instance: "a", Addresses: []string{lis.Addr().String()}}
	set := func(policies ...*model.AccessPolicy) *model.Set {
		return &model.Set{
			Services:  map[model.ServiceName]*model.Service{voting: {Name: voting, Endpoints: []model.Endpoint{endpoint}}},
			Endpoints: map[model.ServiceName][]model.Endpoint{voting: {endpoint}},
			Policies:  policies,
			Trust:     &model.Trust{Domain: domain, Authorities: [][]byte{a.cert.Raw}},
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	b := snapshot.NewBuilder(snapshot.Config{Judge: true, Logger: quiet})
	t.Cleanup(b.Close)
	control := serve.New(serve.Config{Logger: quiet})
	publish := func(policies ...*model.AccessPolicy) {
		t.Helper()
		snap, problems := b.Build(t.Context(), set(policies...))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		control.Publish(snap)
	}
	publish()
	g := grpc.NewServer(control.ServerOptions()...)
	control.Register(g)
	t.Cleanup(func() { control.Close() })
	plane := listen(t)
	serving(t, plane, g)

	// Who falls back to plain text would find nobody to talk to.
	fallback := insecure.NewCredentials()
	serverCreds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: fallback})
	if err != nil {
		t.Fatal(err)
	}
	server, err := xds.NewGRPCServer(grpc.Creds(serverCreds), xds.BootstrapContentsForTesting(a.bootstrap(t, plane.Addr().String(), "voting")),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
				return err
			}
			return stream.SendMsg(new(emptypb.Empty))
		}))
	if err != nil {
		t.Fatal(err)
	}
	healthpb.RegisterHealthServer(server, healthy{})
	serving(t, counting{lis, accepted}, server)

	dial := func(service string) *grpc.ClientConn {
		builder, err := xds.NewXDSResolverWithConfigForTesting(a.bootstrap(t, plane.Addr().String(), service))
		if err != nil {
			t.Fatal(err)
		}
		creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: fallback})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := grpc.NewClient("xds:///voting", grpc.WithTransportCredentials(creds), grpc.WithResolvers(builder))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	web, other := dial("web"), dial("other")
	call := func(conn *grpc.ClientConn) codes.Code {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return status.Code(conn.Invoke(ctx, "/a.B/M", new(emptypb.Empty), new(emptypb.Empty), grpc.WaitForReady(true)))
	}
	want := func(conn *grpc.ClientConn, who string, code codes.Code) {
		t.Helper()
		var got codes.Code
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			if got = call(conn); got == code {
				return
			}
		}
		t.Fatalf("%s: got %v, want %v", who, got, code)
	}
	want(web, "web", codes.OK)
	want(other, "other", codes.OK)
	connections := accepted.Load()

	onlyWeb := model.AccessRules{HasAllow: true, Allow: []model.AccessRule{{
		From: []model.Principal{{Kind: model.OfService, Value: "web"}}, Methods: []string{"/a.B/*"},
	}}}
	policy := func(change func(*model.AccessPolicy)) *model.AccessPolicy {
		p := &model.AccessPolicy{Namespace: "default", Name: "voting", Services: []model.ServiceName{voting}, Rules: onlyWeb}
		change(p)
		return p
	}
	publish(policy(func(*model.AccessPolicy) {}))
	want(other, "other, not in the allow list", codes.PermissionDenied)
	want(web, "web, in the allow list", codes.OK)

	publish(policy(func(p *model.AccessPolicy) { p.Rules.Allow = nil }))
	want(web, "web, where nobody may call", codes.PermissionDenied)
	if _, err := healthpb.NewHealthClient(other).Check(t.Context(), new(healthpb.HealthCheckRequest)); err != nil {
		t.Errorf("health: %v", err)
	}

	publish(policy(func(p *model.AccessPolicy) {
		p.Rules = model.AccessRules{Deny: []model.AccessRule{{From: onlyWeb.Allow[0].From}}}
	}))
	want(other, "other, whom no rule denies", codes.OK)
	want(web, "web, whom one denies", codes.PermissionDenied)

	publish(policy(func(p *model.AccessPolicy) { p.Audit = true }), policy(func(p *model.AccessPolicy) {
		p.Name, p.Rules, p.Shadow = "shadow", model.AccessRules{}, &model.AccessRules{Deny: []model.AccessRule{{}}}
	}))
	want(web, "web, where all is on trial", codes.OK)
	want(other, "other, where all is on trial", codes.OK)
	if got := accepted.Load(); got != connections {
		t.Errorf("%d connections were made anew for policies", got-connections)
	}

	plain, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := healthpb.NewHealthClient(plain).Check(t.Context(), new(healthpb.HealthCheckRequest)); status.Code(err) != codes.Unavailable {
		t.Errorf("plain text: got %v, want to be refused", err)
	}
}
