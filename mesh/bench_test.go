package mesh_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// The yardstick is grpc-go by itself with mutual TLS: the same
// certificates, by go-spiffe's credentials, the same handler, loopback TCP and
// deadline. What plaintext would do is told beside it. Short rounds of all are
// interleaved in one run, so that what else the machine does hits all.

const (
	benchCallers = 64
	benchRounds  = 41
	benchRound   = 250 * time.Millisecond
)

// BenchmarkAgainstPlain reports throughput over that of plain grpc-go with mutual
// TLS (x-mtls; budget: at least 0.96) and without (x-insecure), and allocations
// added to a call, by client and server together (budget: at most 8).
//
//	go test -run '^$' -bench AgainstPlain ./mesh
func BenchmarkAgainstPlain(b *testing.B) {
	kit := meshtest.New(b)
	meshed, server := benchUpstreams(b, kit, "s", 1, func(*mesh.Mesh) {})
	id := server[0].Status().Identity.Identity
	mtls := dialPlain(b, startEcho(b, mtlsServer(b, id.Certificate.PrivateKey, id.Certificate.Certificate, kit)),
		mtlsClient(b, id.Certificate.PrivateKey, id.Certificate.Certificate, kit))
	plain := dialPlain(b, startEcho(b, insecure.NewCredentials()), insecure.NewCredentials())
	conns := []*grpc.ClientConn{meshed()[0], mtls, plain}
	for _, conn := range conns { // the instance may not be known yet
		if err := conn.Invoke(b.Context(), echoMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.WaitForReady(true)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		var rates, ratios [3][]float64
		var added []float64
		for round := range benchRounds {
			var loads [3]load
			for i := range conns {
				// The order turns, so that none always runs on the warmer machine.
				at := (i + round) % len(conns)
				loads[at] = saturate(b, conns[at])
			}
			for i := range loads {
				rates[i] = append(rates[i], loads[i].rate)
				ratios[i] = append(ratios[i], loads[0].rate/loads[i].rate)
			}
			added = append(added, loads[0].allocs-loads[1].allocs)
		}
		b.ReportMetric(median(ratios[1]), "x-mtls")
		b.ReportMetric(slices.Min(ratios[1]), "x-mtls-min")
		b.ReportMetric(slices.Max(ratios[1]), "x-mtls-max")
		b.ReportMetric(median(ratios[2]), "x-insecure")
		b.ReportMetric(median(added), "allocs-added/call")
		b.ReportMetric(median(rates[0]), "mesh-calls/s")
		b.ReportMetric(median(rates[1]), "mtls-calls/s")
		b.ReportMetric(median(rates[2]), "insecure-calls/s")
	}
}

type load struct{ rate, allocs float64 }

// saturate calls as fast as the callers can for one round.
func saturate(b *testing.B, conn *grpc.ClientConn) load {
	b.Helper()
	var calls atomic.Int64
	var failed atomic.Pointer[error]
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	var wait sync.WaitGroup
	for range benchCallers {
		wait.Go(func() {
			request := wrapperspb.Bytes(make([]byte, 1024))
			n := int64(0)
			for time.Since(began) < benchRound {
				if err := conn.Invoke(context.Background(), echoMethod, request, new(wrapperspb.BytesValue)); err != nil {
					failed.Store(&err)
					return
				}
				n++
			}
			calls.Add(n)
		})
	}
	wait.Wait()
	took := time.Since(began).Seconds()
	runtime.ReadMemStats(&after)
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	return load{
		rate:   float64(calls.Load()) / took,
		allocs: float64(after.Mallocs-before.Mallocs) / float64(calls.Load()),
	}
}

func dialPlain(b *testing.B, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	b.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(`{"methodConfig":[{"name":[{}],"timeout":"5s"}]}`))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// svidOf is an identity of the mesh as go-spiffe has it, with the bundle.
func svidOf(b *testing.B, key crypto.PrivateKey, chain [][]byte, kit *meshtest.Mesh) (*x509svid.SVID, *x509bundle.Bundle) {
	b.Helper()
	svid := &x509svid.SVID{PrivateKey: key.(crypto.Signer)}
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		svid.Certificates = append(svid.Certificates, c)
	}
	var err error
	if svid.ID, err = x509svid.IDFromCert(svid.Certificates[0]); err != nil {
		b.Fatal(err)
	}
	td, err := spiffeid.TrustDomainFromString(kit.Bundle().TrustDomain())
	if err != nil {
		b.Fatal(err)
	}
	return svid, x509bundle.FromX509Authorities(td, kit.Bundle().Roots())
}

func mtlsClient(b *testing.B, key crypto.PrivateKey, chain [][]byte, kit *meshtest.Mesh) credentials.TransportCredentials {
	b.Helper()
	svid, bundle := svidOf(b, key, chain, kit)
	return grpccredentials.MTLSClientCredentials(svid, bundle, tlsconfig.AuthorizeID(svid.ID))
}

func mtlsServer(b *testing.B, key crypto.PrivateKey, chain [][]byte, kit *meshtest.Mesh) credentials.TransportCredentials {
	b.Helper()
	svid, bundle := svidOf(b, key, chain, kit)
	return grpccredentials.MTLSServerCredentials(svid, bundle, tlsconfig.AuthorizeAny())
}

// benchUpstreams starts n services of one instance each, whose names begin with name, and
// returns what dials them all. Control travels in memory, calls by TCP. Members are
// prepared before they make or take a call.
func benchUpstreams(b *testing.B, kit *meshtest.Mesh, name string, n int, prepare func(*mesh.Mesh)) (dial func() []*grpc.ClientConn, members []*mesh.Mesh) {
	b.Helper()
	over := func(ctx context.Context, addr string) (net.Conn, error) {
		if c, err := kit.Network.Dial(ctx, addr); err == nil {
			return c, nil
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	yaml := ""
	for i := range n {
		service := fmt.Sprintf("%s-%d", name, i)
		member := kit.Join(mesh.Config{Service: service, DialContext: over})
		prepare(member)
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := member.NewServer()
		srv.RegisterService(&echoDesc, struct{}{})
		var serving sync.WaitGroup
		serving.Go(func() { _ = srv.Serve(lis) })
		b.Cleanup(func() {
			srv.Stop()
			serving.Wait()
		})
		members = append(members, member)
		yaml += fmt.Sprintf("---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: %s}\nspec: {timeout: 5s}\n", service)
	}
	kit.Apply(yaml)
	client := kit.Join(mesh.Config{Service: "bench", DialContext: over})
	prepare(client)
	for _, member := range append(slices.Clip(members), client) {
		if err := member.Ready(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return func() []*grpc.ClientConn {
		var conns []*grpc.ClientConn
		for i := range n {
			conn, err := client.NewClient(fmt.Sprintf("mesh:///%s-%d", name, i))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close() })
			conns = append(conns, conn)
		}
		return conns
	}, members
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

const echoMethod = "/tulle.test.Echo/Echo"

// startEcho serves a plain grpc-go server that returns what it gets.
func startEcho(tb testing.TB, creds credentials.TransportCredentials) string {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(creds))
	srv.RegisterService(&echoDesc, struct{}{})
	var wait sync.WaitGroup
	wait.Go(func() { _ = srv.Serve(lis) })
	tb.Cleanup(func() {
		srv.Stop()
		wait.Wait()
	})
	return lis.Addr().String()
}

var echoDesc = grpc.ServiceDesc{
	ServiceName: "tulle.test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return in, nil
		},
	}},
}
