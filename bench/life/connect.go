package life

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A link is one way to secure a connection, and what each new one cost.
type link struct {
	name           string
	client, server credentials.TransportCredentials
	address        string
	took, cpu      report.Sample
}

const (
	insecureLink = "insecure"
	plainLink    = "mTLS by crypto/tls"
	spiffeLink   = "mTLS by go-spiffe"
	tulleLink    = "Tulle's credentials"
)

// connections measures new connections: grpc-go's, which differ in credentials alone, with
// the same certificates. Both ends are in this process.
func (r *run) connections(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	links, err := r.bed.links(ctx, &wait)
	if err != nil {
		return err
	}
	for _, l := range links {
		stop, err := l.serve()
		if err != nil {
			return err
		}
		defer stop()
	}
	id, err := r.bed.peerID()
	if err != nil {
		return err
	}
	const each = 20
	err = turns(ctx, 1+r.rounds(21, 7), len(links), func(i, round int) error {
		took, cpu, err := links[i].connect(ctx, id, each)
		if err != nil {
			return fmt.Errorf("%s: %w", links[i].name, err)
		}
		if round > 0 {
			links[i].took = append(links[i].took, millis(took)/each)
			links[i].cpu = append(links[i].cpu, millis(cpu)*1e3/each)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.reportConnections(links)
	return nil
}

// serve starts a server that has no services: a connection is what is measured.
func (l *link) serve() (stop func(), err error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.address = lis.Addr().String()
	s := grpc.NewServer(grpc.Creds(l.server))
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Serve(lis) })
	return func() {
		s.Stop()
		wait.Wait()
	}, nil
}

// connect makes n connections one after the other. Each is over once both sides have
// verified the other: a client learns that from the server's first frame.
func (l *link) connect(ctx context.Context, peer string, n int) (took, cpu time.Duration, err error) {
	before, err := proc.OwnCPU()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for range n {
		if err := l.once(ctx, peer); err != nil {
			return 0, 0, err
		}
	}
	took = time.Since(began)
	after, err := proc.OwnCPU()
	return took, after - before, err
}

func (l *link) once(ctx context.Context, peer string) (err error) {
	target := manual.NewBuilderWithScheme("life")
	target.InitialState(resolver.State{Addresses: []resolver.Address{{
		Addr: l.address, Attributes: resource.WithPeerIDs(nil, []string{peer}),
	}}})
	conn, err := grpc.NewClient("life:///"+l.address, grpc.WithResolvers(target), grpc.WithTransportCredentials(l.client))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure {
			return errors.New("the connection was refused")
		}
		if !conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) reportConnections(links []*link) {
	t := report.Table{
		Title: "A new connection",
		Note: "From dialling to the server's first frame, client and server together; the ratio is of CPU, over that of the standard library's TLS. " +
			"What insecure connections cost is not that of handshakes.",
		Columns: []report.Column{
			{Name: "CPU ratio", Digits: 2, Spread: true},
			{Name: "CPU", Unit: "us", Digits: 0, Spread: true},
			{Name: "of the handshake", Unit: "us", Digits: 0},
			{Name: "took", Unit: "ms", Digits: 2, Spread: true},
		},
	}
	by := map[string]*link{}
	for _, l := range links {
		by[l.name] = l
	}
	for _, l := range links {
		var handshake report.Sample
		if l.name != insecureLink {
			handshake = l.cpu.Less(by[insecureLink].cpu)
		}
		t.Add(l.name, l.cpu.Over(by[plainLink].cpu), l.cpu, handshake, l.took)
	}
	r.out.Tables = append(r.out.Tables, t)
	r.figure("life.handshake", "CPU of a new connection, Tulle / plain mTLS", "", by[tulleLink].cpu.Over(by[plainLink].cpu))
}
