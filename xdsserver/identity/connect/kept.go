package connect

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// keptVersion is that of the file's form.
const keptVersion = 1

// kept is a view as [Config.File] has it, with all that it takes to serve it.
type kept struct {
	Version     int       `json:"version"`
	TrustDomain string    `json:"trustDomain"`
	Datacenter  string    `json:"datacenter"`
	Active      string    `json:"active"`
	Roots       [][]byte  `json:"roots"` // DER, the active one first
	RenewBefore time.Time `json:"renewBefore,omitzero"`
	Chain       [][]byte  `json:"chain"` // xdsserver's own, DER
	Key         []byte    `json:"key"`   // PKCS #8
}

// show has everybody see a view, and keeps it. A file that cannot be written is no
// reason to do without the view.
func (c *CA) show(v *view) {
	c.now.Store(v)
	if c.config.File == "" {
		return
	}
	data, err := encode(v)
	if err == nil {
		err = identity.WritePrivate(c.config.File, data)
	}
	if err != nil {
		c.logger.Warn("consul's authority is not kept on disk: a start while consul is away would fail", "file", c.config.File, "error", err)
	}
}

func encode(v *view) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(v.own.PrivateKey)
	if err != nil {
		return nil, err
	}
	return json.Marshal(kept{
		Version: keptVersion, TrustDomain: v.roots.TrustDomain, Datacenter: v.trust.Datacenter, Active: v.roots.Active,
		Roots: v.roots.Roots, RenewBefore: v.trust.RenewBefore, Chain: v.own.Certificate, Key: key,
	})
}

// restore returns the view that was kept; nil where there is none, or none to go by.
func (c *CA) restore() *view {
	if c.config.File == "" {
		return nil
	}
	data, err := identity.ReadPrivate(c.config.File)
	var v *view
	if err == nil {
		v, err = decode(data, time.Now())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.logger.Warn("what was kept of consul's authority is of no use, consul must be there", "file", c.config.File, "error", err)
	}
	return v
}

// decode checks what was kept as if Consul had just said it.
func decode(data []byte, now time.Time) (*view, error) {
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if k.Version != keptVersion {
		return nil, fmt.Errorf("it is of version %d, this xdsserver knows %d", k.Version, keptVersion)
	}
	domain := spiffe.Domain{Name: k.TrustDomain, Datacenter: k.Datacenter}
	if domain.Datacenter == "" {
		return nil, errors.New("it names no datacenter")
	}
	bundle, err := spiffe.ParseBundle(k.TrustDomain, k.Roots)
	if err != nil {
		return nil, err
	}
	own, err := keptCertificate(k)
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(own.Certificate)
	if err != nil {
		return nil, err
	}
	peer, err := bundle.VerifyAt(chain, now)
	if err != nil {
		return nil, err
	}
	if peer.URI != domain.ServerID() {
		return nil, fmt.Errorf("its certificate is of %s instead of %s", peer.URI, domain.ServerID())
	}
	return &view{
		roots:   consul.ConnectRoots{TrustDomain: k.TrustDomain, Active: k.Active, Roots: k.Roots},
		trust:   &identity.Trust{Bundle: bundle, Generation: 1, Datacenter: k.Datacenter, RenewBefore: k.RenewBefore},
		changed: make(chan struct{}),
		own:     own,
	}, nil
}

// keptCertificate is xdsserver's own, of which the chain ends with the root.
func keptCertificate(k kept) (*tls.Certificate, error) {
	if len(k.Chain) < 2 {
		return nil, errors.New("its chain lacks the root")
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Key)
	if err != nil {
		return nil, fmt.Errorf("its key is damaged: %w", err)
	}
	leaf, err := x509.ParseCertificate(k.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("its certificate is damaged: %w", err)
	}
	if own, ok := key.(*ecdsa.PrivateKey); !ok || !own.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("its key is another one's than the certificate's")
	}
	return &tls.Certificate{Certificate: k.Chain, PrivateKey: key, Leaf: leaf}, nil
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		var err error
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
	}
	return chain, nil
}
