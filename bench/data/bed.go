package data

import (
	"context"
	"fmt"

	"github.com/tulle-mesh/tulle/bench/plane"
	"github.com/tulle-mesh/tulle/bench/proc"
)

// A bed is what all modes share: the programs, an xdsserver and identities of its making.
type bed struct {
	dir      string
	log      func(format string, args ...any)
	programs map[string]string
	plane    *plane.Plane
	// identity holds those of plain programs and sidecars.
	identity struct{ client, server string }
}

func newBed(ctx context.Context, c Config) (b *bed, err error) {
	b = &bed{dir: c.Dir, log: c.Log, programs: map[string]string{}}
	for _, name := range []string{"plain", "grpcxds", "tulle"} {
		c.Log("building bench/service/%s", name)
		if b.programs[name], err = proc.Build(ctx, c.Dir, "./bench/service/"+name); err != nil {
			return nil, err
		}
	}
	c.Log("building xdsserver")
	if b.plane, err = plane.Start(ctx, c.Dir); err != nil {
		return nil, err
	}
	if b.identity.client, err = b.plane.Identity(ctx, caller); err == nil {
		b.identity.server, err = b.plane.Identity(ctx, "plain")
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bed) close() { _ = b.plane.Close() }

// client starts the client of a mode.
func (b *bed) client(ctx context.Context, m mode) (*proc.Process, error) {
	flags, env := m.flags, []string(nil)
	switch {
	case m.tulle():
		env = b.environment(caller)
	case m.xds():
		path, err := b.plane.Bootstrap(ctx, caller, b.identity.client)
		if err != nil {
			return nil, err
		}
		env = []string{"GRPC_XDS_BOOTSTRAP=" + path}
	case m.mtls:
		flags = append([]string{"-identity", b.identity.client}, flags...)
	}
	return proc.Start(m.name+", client", b.programs[m.program], flags, env...)
}

// server starts the server of a mode, which serves nothing yet.
func (b *bed) server(ctx context.Context, m mode) (*proc.Process, error) {
	flags, env := m.flags, []string(nil)
	switch {
	case m.tulle():
		env = b.environment("")
	case m.xds():
		identity, err := b.plane.Identity(ctx, m.service)
		if err != nil {
			return nil, err
		}
		path, err := b.plane.Bootstrap(ctx, m.service, identity)
		if err != nil {
			return nil, err
		}
		env = []string{"GRPC_XDS_BOOTSTRAP=" + path}
	case m.mtls:
		flags = append([]string{"-identity", b.identity.server}, flags...)
	}
	return proc.Start(m.name+", server", b.programs[m.program], flags, env...)
}

func (b *bed) environment(service string) []string {
	return []string{"TULLE_SERVER=" + b.plane.Target(), "TULLE_STATE_DIR=off", "TULLE_SERVICE=" + service}
}

// apply tells xdsserver of a mode's services; addresses are those of stock servers, which
// do not register.
func (b *bed) apply(ctx context.Context, m mode, service, address string) error {
	yaml := m.manifests
	if address != "" {
		yaml = serviceOf(service, fmt.Sprintf("%s, endpoints: [{address: %q}]", withDeadline, address)) + routesOf(service)
	}
	if !m.open {
		yaml += accessOf(service)
	}
	return b.plane.Apply(ctx, yaml)
}
