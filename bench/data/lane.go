package data

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tulle-mesh/tulle/bench/load"
	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/service"
	"github.com/tulle-mesh/tulle/bench/sidecar"
)

// A lane is a mode that runs: its client, its server, and the proxies between them.
type lane struct {
	mode

	client, server *proc.Process
	proxies        *sidecar.Pair
}

// open starts a mode with so many upstreams, each a listener of the one server. It returns
// once the client has had an answer from all.
func (b *bed) open(ctx context.Context, m mode, upstreams int) (*lane, error) {
	l := &lane{mode: m}
	if err := b.start(ctx, l, upstreams); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (b *bed) start(ctx context.Context, l *lane, upstreams int) (err error) {
	m := l.mode
	if l.server, err = b.server(ctx, m); err != nil {
		return err
	}
	targets := make([]string, upstreams)
	for i := range targets {
		if targets[i], err = b.upstream(ctx, l, i); err != nil {
			return err
		}
	}
	if l.client, err = b.client(ctx, m); err != nil {
		return err
	}
	if m.sidecar != "" {
		if l.proxies, err = b.sidecars(ctx, m, targets); err != nil {
			return err
		}
		targets = []string{l.proxies.Address}
	}
	if err := l.client.Ask("dial", targets, nil); err != nil {
		return errors.Join(err, errors.New("its server said: "+l.server.Said()))
	}
	return nil
}

// upstream has the server serve the mode's i-th service and returns the client's target.
func (b *bed) upstream(ctx context.Context, l *lane, i int) (target string, err error) {
	m, name := l.mode, l.service
	if i > 0 {
		name = fmt.Sprintf("%s-%d", name, i)
		m.manifests = serviceOf(name, withDeadline) + routesOf(name)
	}
	s := service.Serving{Service: name}
	switch {
	case m.xds():
		if i > 0 {
			return "", errors.New("a bootstrap file is for a server of one service")
		}
		if s.Address, err = proc.FreePort(); err == nil {
			err = b.apply(ctx, m, name, s.Address)
		}
	case m.tulle():
		err = b.apply(ctx, m, name, "")
	}
	if err != nil {
		return "", err
	}
	var address string
	if err := l.server.Ask("serve", s, &address); err != nil {
		return "", err
	}
	switch {
	case m.xds():
		return "xds:///" + name, nil
	case m.tulle():
		return "mesh:///" + name, nil
	default:
		return address, nil
	}
}

func (b *bed) sidecars(ctx context.Context, m mode, upstreams []string) (*sidecar.Pair, error) {
	identity := func(dir string) sidecar.Identity {
		return sidecar.Identity{Cert: filepath.Join(dir, "svid.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "bundle.pem")}
	}
	c := sidecar.Config{Dir: b.dir, Client: identity(b.identity.client), Server: identity(b.identity.server), Upstreams: upstreams, Log: b.log}
	if m.sidecar == "envoy" {
		return sidecar.Envoy(ctx, c)
	}
	return sidecar.HAProxy(ctx, c)
}

func (l *lane) close() {
	if l.proxies != nil {
		_ = l.proxies.Close()
	}
	for _, p := range []*proc.Process{l.client, l.server} {
		if p != nil {
			_ = p.Close()
		}
	}
}

// A round is what one load cost. Costs are for each unit of work: a unary call, or a
// message of a stream.
type round struct {
	rate float64
	// Latencies are in microseconds.
	p50, p90, p99, p999 float64
	// CPU is in microseconds.
	clientCPU, serverCPU, proxyCPU float64
	clientAllocs, serverAllocs     float64
}

func (r round) cpu() float64 { return r.clientCPU + r.serverCPU + r.proxyCPU }

// measure runs a plan. A call that fails, or is not accounted for, is an error.
func (l *lane) measure(p load.Plan) (round, error) {
	r, err := l.run(p)
	if err != nil {
		return r, fmt.Errorf("%s: %w", l.name, err)
	}
	return r, nil
}

func (l *lane) run(p load.Plan) (r round, err error) {
	before, err := l.counts()
	if err != nil {
		return r, err
	}
	var result load.Result
	if err := l.client.Ask("run", p, &result); err != nil {
		return r, err
	}
	after, err := l.counts()
	if err != nil {
		return r, err
	}
	if err := result.Ledger.Check(); err != nil {
		return r, err
	}
	latencies, err := result.Percentiles(50, 90, 99, 99.9)
	if err != nil {
		return r, err
	}
	n := float64(result.Ledger.OK)
	r = round{
		rate: result.Rate(),
		p50:  latencies[0], p90: latencies[1], p99: latencies[2], p999: latencies[3],
		clientCPU: micros(result.CPU) / n, serverCPU: micros(after.CPU-before.CPU) / n, proxyCPU: micros(after.proxies-before.proxies) / n,
		clientAllocs: float64(result.Mallocs) / n, serverAllocs: float64(after.Mallocs-before.Mallocs) / n,
	}
	return r, nil
}

// counts are those of the server and of the proxies.
func (l *lane) counts() (c counts, err error) {
	if err := l.server.Ask("counts", nil, &c.Counts); err != nil || l.proxies == nil {
		return c, err
	}
	client, server, err := l.proxies.Usage()
	c.proxies = client.CPU + server.CPU
	return c, err
}
