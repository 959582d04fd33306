package life

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tulle-mesh/tulle/bench/plane"
	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/service"
)

// The programs under bench/service, in the order in which tables have them.
const (
	plain   = "plain"
	grpcxds = "grpcxds"
	tulle   = "tulle"
)

var programs = []string{plain, grpcxds, tulle}

// What they are called in tables.
var names = map[string]string{plain: "plain grpc-go, mTLS", grpcxds: "grpc-go xDS, mTLS", tulle: "Tulle"}

const (
	// caller is the service that all clients are, echo the one that they call.
	caller = "bench-client"
	echo   = "echo"
)

// A bed is what all figures share: the programs, an xdsserver, and servers to call.
type bed struct {
	dir      string // scratch, removed at the end
	programs map[string]string
	plane    *plane.Plane
	// identity is the client's, as files, and address the plain server's.
	identity, address string
	bootstrap         string
	// member is a server of the mesh, which serves echo.
	member *proc.Process
	// kept is the state that a client of echo has left.
	kept string

	closers []func()
}

func newBed(ctx context.Context, c Config) (b *bed, err error) {
	b = &bed{programs: map[string]string{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.dir, err = os.MkdirTemp(c.Dir, "life-"); err != nil {
		return b, err
	}
	b.onClose(func() { _ = os.RemoveAll(b.dir) })
	for _, name := range programs {
		c.Log("building bench/service/%s", name)
		if b.programs[name], err = proc.Build(ctx, c.Dir, "./bench/service/"+name); err != nil {
			return b, err
		}
	}
	c.Log("building xdsserver")
	if b.plane, err = b.newPlane(ctx, c.Dir); err != nil {
		return b, err
	}
	if b.identity, err = b.plane.Identity(ctx, caller); err != nil {
		return b, err
	}
	if b.bootstrap, err = b.plane.Bootstrap(ctx, caller, b.identity); err != nil {
		return b, err
	}
	if b.member, err = b.newMember(ctx, b.plane); err != nil {
		return b, err
	}
	if b.address, err = b.newPlain(ctx); err != nil {
		return b, err
	}
	b.kept, err = b.primed(ctx, b.plane)
	return b, err
}

// newPlane starts an xdsserver that lives as long as the bed.
func (b *bed) newPlane(ctx context.Context, dir string, flags ...string) (*plane.Plane, error) {
	p, err := plane.Start(ctx, dir, flags...)
	if err == nil {
		b.onClose(func() { _ = p.Close() })
	}
	return p, err
}

// newMember starts a server of the mesh of p that serves echo.
func (b *bed) newMember(ctx context.Context, p *plane.Plane) (*proc.Process, error) {
	member, err := b.start(tulle, nil, memberOf(p, "", "off")...)
	if err != nil {
		return nil, err
	}
	_, err = serve(ctx, p, member, echo)
	return member, err
}

// newPlain starts a server of plain grpc-go and returns its address.
func (b *bed) newPlain(ctx context.Context) (address string, err error) {
	identity, err := b.plane.Identity(ctx, plain)
	if err != nil {
		return "", err
	}
	p, err := b.start(plain, []string{"-identity", identity})
	if err != nil {
		return "", err
	}
	return address, p.Ask("serve", service.Serving{}, &address)
}

// start starts a program that lives as long as the bed.
func (b *bed) start(program string, args []string, env ...string) (*proc.Process, error) {
	p, err := proc.Start(names[program]+", server", b.programs[program], args, env...)
	if err == nil {
		b.onClose(func() { _ = p.Close() })
	}
	return p, err
}

func (b *bed) onClose(f func()) { b.closers = append(b.closers, f) }

// close ends everything, the latest first.
func (b *bed) close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
}

// client is how a program is started that calls echo at the bed's servers, and what it is
// to dial.
func (b *bed) client(program string) (args, env []string, target string) {
	switch program {
	case plain:
		return []string{"-identity", b.identity, "-timeout", timeout}, nil, b.address
	case grpcxds:
		return nil, []string{"GRPC_XDS_BOOTSTRAP=" + b.bootstrap}, "xds:///" + echo
	default:
		return nil, memberOf(b.plane, caller, "off"), "mesh:///" + echo
	}
}

// memberOf is the environment of a member; state is where it keeps what it knows.
func memberOf(p *plane.Plane, name, state string) []string {
	return []string{"TULLE_SERVER=" + p.Target(), "TULLE_STATE_DIR=" + state, "TULLE_SERVICE=" + name}
}

// timeout is that of each call, in all programs.
const timeout = "5s"

// serve has a member serve services, of which xdsserver is told first, and returns their
// addresses.
func serve(ctx context.Context, p *plane.Plane, member *proc.Process, services ...string) (addresses []string, err error) {
	var yaml strings.Builder
	for _, name := range services {
		fmt.Fprintf(&yaml, "---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: %s}\nspec: {timeout: %s}\n", name, timeout)
	}
	if err := p.Apply(ctx, yaml.String()); err != nil {
		return nil, err
	}
	addresses = make([]string, len(services))
	for i, name := range services {
		if err := errors.Join(ctx.Err(), member.Ask("serve", service.Serving{Service: name}, &addresses[i])); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

// scratch is a new directory.
func (b *bed) scratch() (string, error) { return os.MkdirTemp(b.dir, "") }

func file(dir, name string) string { return filepath.Join(dir, name) }
