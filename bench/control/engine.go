package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// The engines, as tables name them.
const (
	tulle         = "tulle"
	snapshotCache = "SnapshotCache"
	linearCache   = "LinearCache"
)

// engines are all, ours first.
var engines = []string{tulle, snapshotCache, linearCache}

// An engine is a server under test.
type engine interface {
	register(g *grpc.Server)
	// set gives a service another version of one kind, and returns when streams have
	// been told of it, which is not when they have it.
	set(k kind, service, number int) error
}

// A world is the mesh that engines serve: so many services, each of ten endpoints, but the
// first, which all clients subscribe to, of so many.
type world struct{ services, endpoints int }

// plain is the world of all that is not about its size.
var plain = world{services: 200, endpoints: ordinary.PerService}

func (w world) resource(k kind, service, number int) proto.Message {
	if k == endpoints && service == 0 {
		return ordinary.Endpoints(serviceName(0), number, w.endpoints)
	}
	return ordinary.Resource(ordinary.Types[k], serviceName(service), number)
}

// newEngine returns an engine that serves a world, and what its transport needs.
func newEngine(name string, w world) (engine, error) {
	switch name {
	case tulle:
		return newTulle(w)
	case snapshotCache:
		return newSnapshotCache(w)
	case linearCache:
		return newLinearCache(w), nil
	}
	return nil, fmt.Errorf("no engine is called %q", name)
}

// A tulleEngine is this project's stream engine, told of changes as the snapshot builder
// tells it: by the next snapshot, which shares what did not change.
type tulleEngine struct {
	world    world
	server   *serve.Server
	snapshot *snapshot.Snapshot
}

func newTulle(w world) (*tulleEngine, error) {
	e := &tulleEngine{
		world: w, server: serve.New(serve.Config{Logger: slog.New(slog.DiscardHandler)}),
		snapshot: &snapshot.Snapshot{Types: make(map[string]map[string]*snapshot.Resource)},
	}
	for k, url := range ordinary.Types {
		all := make(map[string]*snapshot.Resource, w.services)
		for i := range w.services {
			r, err := encode(serviceName(i), w.resource(kind(k), i, 0))
			if err != nil {
				return nil, err
			}
			all[r.Name] = r
		}
		e.snapshot.Types[url] = all
	}
	e.server.Publish(e.snapshot)
	return e, nil
}

func (e *tulleEngine) register(g *grpc.Server) { e.server.Register(g) }

func (e *tulleEngine) set(k kind, service, number int) error {
	r, err := encode(serviceName(service), e.world.resource(k, service, number))
	if err != nil {
		return err
	}
	url := ordinary.Types[k]
	next := &snapshot.Snapshot{Types: maps.Clone(e.snapshot.Types)}
	next.Types[url] = maps.Clone(e.snapshot.Types[url])
	next.Types[url][r.Name] = r
	e.server.Publish(next)
	e.snapshot = next
	return nil
}

// encode makes what the snapshot builder makes of a resource: bytes and their version.
func encode(name string, m proto.Message) (*snapshot.Resource, error) {
	deterministic := proto.MarshalOptions{Deterministic: true}
	a := new(anypb.Any)
	if err := anypb.MarshalFrom(a, m, deterministic); err != nil {
		return nil, err
	}
	b, err := deterministic.Marshal(a)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(a.GetValue())
	return &snapshot.Resource{Name: name, Version: hex.EncodeToString(sum[:8]), Any: b}, nil
}
