package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/types/known/emptypb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// operator asks the admin API.
func operator(d *Daemon) adminv1connect.AdminServiceClient {
	return adminv1connect.NewAdminServiceClient(http.DefaultClient, "http://"+d.admin[0].Addr().String())
}

// as connects to the mesh port by credentials.
func as(t *testing.T, d *Daemon, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(d.listeners[0].Addr().String(), grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// accesses is a report of what a server decided: attributes and how often.
func accesses(rows ...any) *metricspb.MetricsData {
	sum := &metricspb.Sum{AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, IsMonotonic: true}
	now := uint64(time.Now().UnixNano())
	for i := 0; i < len(rows); i += 2 {
		point := &metricspb.NumberDataPoint{StartTimeUnixNano: now, TimeUnixNano: now, Value: &metricspb.NumberDataPoint_AsInt{AsInt: int64(rows[i+1].(int))}}
		for kv := range slices.Chunk(rows[i].([]string), 2) {
			point.Attributes = append(point.Attributes, &commonpb.KeyValue{
				Key: kv[0], Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: kv[1]}},
			})
		}
		sum.DataPoints = append(sum.DataPoints, point)
	}
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{Name: "tulle.server.access", Data: &metricspb.Metric_Sum{Sum: sum}}}}},
	}}}
}

func TestWhatServersReportIsSuggestedAndChecked(t *testing.T) {
	c := config(t)
	c.Path = filepath.Join(t.TempDir(), "mesh.yaml")
	mesh := "{apiVersion: tulle/v1, kind: Service, metadata: {name: voting}, spec: {mtls: {mode: permissive, until: 2099-01-01}}}\n" +
		"---\n{apiVersion: tulle/v1, kind: Service, metadata: {name: web}}\n"
	if err := os.WriteFile(c.Path, []byte(mesh), 0o600); err != nil {
		t.Fatal(err)
	}
	d := run(t, c)
	report := accesses(
		[]string{"tulle.source", "spiffe://tulle.local/ns/default/svc/web", "grpc.method", "/vote.v1.Votes/Cast", "tulle.verdict", "allowed"}, 3,
		[]string{"tulle.address", "10.0.0.9", "grpc.method", "/vote.v1.Votes/Cast", "tulle.verdict", "allowed"}, 2)
	err := as(t, d, member(t, d, "voting")).Invoke(t.Context(), telemetry.ExportMethod, report, &emptypb.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	admin := operator(d)
	await(t, func() error {
		_, err := admin.Authorize(t.Context(), &adminv1.AuthorizeRequest{Service: "voting"})
		return err
	})
	suggested, err := admin.SuggestPolicy(t.Context(), &adminv1.SuggestPolicyRequest{Service: "voting"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: AccessPolicy", "mode: audit", "- web", "/vote.v1.Votes/Cast"} {
		if !strings.Contains(suggested.GetYaml(), want) {
			t.Errorf("the policy lacks %q:\n%s", want, suggested.GetYaml())
		}
	}
	// What is suggested is taken as it is.
	applied, err := admin.Apply(t.Context(), &adminv1.ApplyRequest{Manifests: []*adminv1.Manifest{{Origin: "suggested", Yaml: suggested.GetYaml()}}})
	if err != nil || applied.GetResults()[0].GetAction() != adminv1.Action_ACTION_CREATED {
		t.Errorf("applied: %v, %v", applied, err)
	}
	answer, err := admin.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	permissive := answer.GetSecurity().GetPermissive()
	if len(permissive) != 1 || permissive[0].GetService() != "voting" || len(permissive[0].GetCallers()) != 1 ||
		permissive[0].GetCallers()[0].GetAddress() != "10.0.0.9" || permissive[0].GetCallers()[0].GetCalls() != 2 {
		t.Errorf("permissive %v, want voting and its one caller in plaintext", permissive)
	}
	if _, err := admin.SuggestPolicy(t.Context(), &adminv1.SuggestPolicyRequest{Service: "web"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a policy for a service that nobody calls: %v, want NOT_FOUND", err)
	}
}

func TestAProcessSpeaksForItsOwnServiceOnly(t *testing.T) {
	d := run(t, config(t))
	conn := as(t, d, member(t, d, "web"))
	stream, err := registryv1.NewRegistryServiceClient(conn).Register(t.Context(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&registryv1.RegisterRequest{Service: "voting", Instance: "x", Addresses: []string{"127.0.0.1:1"}, State: registryv1.State_STATE_SERVING})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("web registers an endpoint of voting: %v, want PERMISSION_DENIED", err)
	}
}

// await tries until it works.
func await(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

func TestAnAuthorityInFilesSigns(t *testing.T) {
	c := config(t)
	dir := t.TempDir()
	writeAuthority(t, dir)
	c.CA, c.TrustDomain = "files:"+dir, "files.test"
	d := run(t, c)
	answer, err := operator(d).GetAuthority(t.Context(), &adminv1.GetAuthorityRequest{})
	if err != nil || answer.GetAuthority().GetKind() != "files" || answer.GetAuthority().GetTrustDomain() != "files.test" {
		t.Fatalf("got %v, %v", answer, err)
	}
	if err := call(t, d.listeners[0].Addr().String(), stranger(d), "/grpc.health.v1.Health/Check"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a certificate: %v", err)
	}
	as(t, d, member(t, d, "web"))
	_, err = operator(d).RotateAuthority(t.Context(), &adminv1.RotateAuthorityRequest{})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "rotated where its certificates come from") {
		t.Errorf("rotation: %v, want that it is done elsewhere", err)
	}
}

// writeAuthority makes a root that signs leaves, as cert-manager lays it out.
func writeAuthority(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	root, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		tlsCertificate: {Type: "CERTIFICATE", Bytes: root},
		tlsRoots:       {Type: "CERTIFICATE", Bytes: root},
		tlsKey:         {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
