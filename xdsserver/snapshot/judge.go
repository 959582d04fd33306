package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/grpc/xds"
	"google.golang.org/grpc/xds/bootstrap"
	"google.golang.org/protobuf/types/known/anypb"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// judgeName is the target and all resources of the judge's own; no service can
// have the name, which is no DNS label.
const judgeName = "_judge"

// judgeBuffer holds what is on its way between the two halves of the judge.
const judgeBuffer = 256 << 10

// maxAnswer bounds one response to the judge: batches are far smaller.
const maxAnswer = 64 << 20

// A judge is grpc-go's own xDS client, which says whether a stock client would
// take a resource.
//
// The client is a ClientConn for xds:///_judge, fed by an ADS server in memory. It
// subscribes to a Listener, a RouteConfiguration, a Cluster and a
// ClusterLoadAssignment of its own. grpc-go decodes and validates all resources of
// a response, also those it did not subscribe to and those for servers, before it acknowledges or
// refuses the response (internal/xds/clients/xdsclient, decodeResponse): so a
// candidate is judged by sending it along with the judge's own resource. Nothing
// of a candidate stays in the client.
//
// ask may be called by one goroutine at a time.
type judge struct {
	conn     *grpc.ClientConn
	listener *bufconn.Listener
	server   *grpc.Server
	forget   func()
	running  sync.WaitGroup

	ads *judgeServer
}

// newJudge starts a judge; ask waits until it is there.
func newJudge() (*judge, error) {
	ads, err := newJudgeServer()
	if err != nil {
		return nil, err
	}
	listener := bufconn.Listen(judgeBuffer)
	id, forget := courts.open(listener)
	config, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":    "passthrough:///judge",
			"channel_creds": []any{map[string]any{"type": credentialsType, "config": id}},
		}},
		"node": map[string]any{"id": "tulle-judge"},
		// grpc-go refuses resources that name a provider it does not have. The
		// judge connects to nobody, so the files are never opened.
		"certificate_providers": map[string]any{resource.CertificateProvider: map[string]any{
			"plugin_name": "file_watcher",
			"config": map[string]any{
				"certificate_file":    "svid.pem",
				"private_key_file":    "key.pem",
				"ca_certificate_file": "bundle.pem",
				"refresh_interval":    "3600s",
			},
		}},
	})
	if err != nil {
		forget()
		return nil, fmt.Errorf("snapshot: judge: %w", err)
	}
	// "For testing" is its name, not its nature: it is grpc-go's only way to give
	// one client a bootstrap of its own (grpc-go issue 8432).
	builder, err := xds.NewXDSResolverWithConfigForTesting(config)
	if err != nil {
		forget()
		return nil, fmt.Errorf("snapshot: judge: %w", err)
	}
	conn, err := grpc.NewClient("xds:///"+judgeName,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithResolvers(builder),
		grpc.WithIdleTimeout(0)) // an idle ClientConn closes its xDS client
	if err != nil {
		forget()
		return nil, fmt.Errorf("snapshot: judge: %w", err)
	}
	j := &judge{conn: conn, listener: listener, server: grpc.NewServer(grpc.WaitForHandlers(true)), forget: forget, ads: ads}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(j.server, j.ads)
	j.running.Go(func() { _ = j.server.Serve(listener) }) // ends with Stop
	conn.Connect()
	return j, nil
}

// close stops both halves and waits for them.
func (j *judge) close() {
	_ = j.conn.Close()
	j.server.Stop()
	_ = j.listener.Close()
	j.running.Wait()
	j.ads.receivers.Wait()
	j.forget()
}

// A candidate is one resource to be judged.
type candidate struct {
	name  string
	value []byte
	// refusal is why the client refuses it; empty when it does not.
	refusal string
	judged  bool
}

// try judges candidates of one type and notes the verdicts. A response that is
// refused is split until the culprits stand alone: the reason for several would
// have to be taken apart, and reasons hold whatever the resources do.
func (j *judge) try(ctx context.Context, typeURL string, candidates []*candidate) error {
	reason, err := j.ads.ask(ctx, typeURL, candidates)
	if err != nil {
		return err
	}
	if reason != "" && len(candidates) > 1 {
		half := len(candidates) / 2
		if err := j.try(ctx, typeURL, candidates[:half]); err != nil {
			return err
		}
		return j.try(ctx, typeURL, candidates[half:])
	}
	for _, c := range candidates {
		c.judged = true
		c.refusal = plainReason(reason, c.name)
	}
	return nil
}

// maxReason bounds a reason: some end in a dump of the whole resource.
const maxReason = 400

// plainReason leaves out what grpc-go says around the reason for one resource.
func plainReason(reason, name string) string {
	if _, after, found := strings.Cut(reason, fmt.Sprintf("resource %q: ", name)); found {
		reason = after
	} else if _, after, found := strings.Cut(reason, "response: top level errors: "); found {
		reason = after
	}
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	return reason
}

// credentialsType names our credentials in a bootstrap configuration.
const credentialsType = "tulle_judge"

func init() {
	// The registry is the process's own, as grpc-go has it: the name is ours
	// alone, and each judge is found through its configuration.
	bootstrap.RegisterChannelCredentials(&courts)
}

// courts are the judges at work, by id: how a bootstrap configuration, which is
// text, gets a connection in memory.
var courts courtList

type courtList struct {
	mu        sync.Mutex
	last      int
	listeners map[int]*bufconn.Listener
}

func (l *courtList) open(listener *bufconn.Listener) (id int, forget func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listeners == nil {
		l.listeners = make(map[int]*bufconn.Listener)
	}
	l.last++
	id = l.last
	l.listeners[id] = listener
	return id, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listeners, id)
	}
}

// Name implements bootstrap.ChannelCredentials.
func (l *courtList) Name() string { return credentialsType }

// Build implements bootstrap.ChannelCredentials. grpc-go calls it twice for each
// client and drops one of the results, so it starts nothing.
func (l *courtList) Build(config json.RawMessage) (credentials.Bundle, func(), error) {
	var id int
	if err := json.Unmarshal(config, &id); err != nil {
		return nil, nil, fmt.Errorf("snapshot: judge: configuration: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	listener := l.listeners[id]
	if listener == nil {
		return nil, nil, errors.New("snapshot: judge: it is closed")
	}
	return court{Bundle: insecure.NewBundle(), listener: listener}, func() {}, nil
}

// A court is how the client reaches the server of its judge.
type court struct {
	credentials.Bundle
	listener *bufconn.Listener
}

// DialOptions is how grpc-go's xDS client asks a bundle for more than
// credentials: it looks for the method by its shape.
func (c court) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	}
}

// anyOf wraps an encoded resource without copying it.
func anyOf(typeURL string, value []byte) *anypb.Any {
	return &anypb.Any{TypeUrl: typeURL, Value: value}
}
