package mesh

import (
	"context"
	"time"

	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// A Peer is the other end of a call, as its certificate proved.
type Peer struct {
	// ID is its SPIFFE id.
	ID string
	// Service is "name", or "name.namespace" outside the namespace default, as in
	// mesh:///name; empty for an identity that is no service of a mesh.
	Service string
	// Namespace is that of the service; empty without one.
	Namespace string
	// TrustDomain is who vouches for it.
	TrustDomain string
}

// PeerFromContext returns who made the call whose context it is, in a handler of a
// server of the mesh. ok is false for a caller without an identity, which only a
// server in permissive mode lets in.
func PeerFromContext(ctx context.Context) (p Peer, ok bool) {
	found, ok := identity.PeerFromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	return Peer{ID: found.URI, Service: found.Service, Namespace: found.Namespace(), TrustDomain: found.TrustDomain}, true
}

// hold gets the process's identity and keeps it. That there cannot be one ends the
// mesh's calls, which say why, and not the process.
func (m *Mesh) hold(ctx context.Context) error {
	if err := m.source.Run(ctx, m.xds.Conn()); err != nil {
		m.logger.Error("the process has no identity and gets none", "error", err)
	}
	return nil
}

// follow brings the trust bundle that xdsserver serves to the identity, and the
// identity to the connections that are open.
func (m *Mesh) follow(ctx context.Context) error {
	current, err := m.source.Wait(ctx)
	if err != nil {
		return nil // hold has said why there is none, or the mesh is closed
	}
	wake := make(chan struct{}, 1)
	bundle := m.xds.Subscribe(resource.TrustBundleType, current.ID.TrustDomain, func() {
		select {
		case wake <- struct{}{}:
		default: // it is awake
		}
	})
	defer bundle.Close()
	var trusted *resource.TrustBundle
	for {
		changed := m.source.Changed()
		if next := m.source.Current(); next.Certificate.Leaf != current.Certificate.Leaf {
			if outlived(current.NotAfter, time.Now()) {
				m.builder.Reconnect()
			}
			current = next
		}
		trusted = m.trust(bundle.State(), trusted)
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-changed:
		}
	}
}

// trust hands on a bundle that is not the one before. One from the disk is no news:
// the identity was kept there with its own.
func (m *Mesh) trust(state xdsclient.State, before *resource.TrustBundle) *resource.TrustBundle {
	next, ok := state.Value.(*resource.TrustBundle)
	if !ok || state.Stale || next == before {
		return before
	}
	m.source.SetTrust(next)
	return next
}

// outlived is whether a connection that is made with a certificate may live longer
// than that. Of most lifetimes it does not: a certificate is replaced at half of its
// life, and connections become half an hour old.
func outlived(notAfter, now time.Time) bool {
	return notAfter.Before(now.Add(connectionAge + connectionAge/10 + time.Minute))
}
