package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// Run implements [identity.Authority]: it follows Consul's roots, and renews xdsserver's
// own certificate at half of its life.
func (c *CA) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	// The newest roots, not each of them.
	news := make(chan consul.ConnectRoots, 1)
	group.Go(func() error {
		return consul.Follow(ctx, c.config.Client, c.config.Client.WatchConnectRoots(func(a consul.Answer[consul.ConnectRoots]) {
			if a.Err != nil {
				c.failed(a.Err)
				return
			}
			select {
			case <-news:
			default:
			}
			news <- a.Value
		}))
	})
	group.Go(func() error {
		c.keep(ctx, news)
		return nil
	})
	return group.Wait()
}

// keep shows what changes until ctx ends.
func (c *CA) keep(ctx context.Context, news <-chan consul.ConnectRoots) {
	var roots *consul.ConnectRoots // what could not be shown yet
	timer := time.NewTimer(time.Until(halfLife(c.Certificate())))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-news:
			roots = &r
		case <-timer.C:
		}
		var err error
		if roots != nil {
			if err = c.take(ctx, *roots); err == nil {
				roots = nil
			}
		}
		if err == nil && !time.Now().Before(halfLife(c.Certificate())) {
			err = c.renewOwn(ctx)
		}
		if c.failed(err); err != nil {
			timer.Reset(retryOwn)
			continue
		}
		timer.Reset(time.Until(halfLife(c.Certificate())))
	}
}

// renewOwn replaces xdsserver's own certificate.
func (c *CA) renewOwn(ctx context.Context) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	next := *c.now.Load()
	own, err := c.signOwn(ctx, &next)
	if err != nil {
		return err
	}
	next.own = own
	c.show(&next)
	return nil
}

// halfLife is when a certificate of Consul's is to be renewed.
func halfLife(own *tls.Certificate) time.Time {
	made := own.Leaf.NotBefore.Add(backDate)
	return made.Add(own.Leaf.NotAfter.Sub(made) / 2)
}

// failed notes what is wrong, and logs it once; nil is that nothing is.
func (c *CA) failed(err error) {
	if err == nil {
		if c.problem.Swap(nil) != nil {
			c.logger.Info("consul's authority is followed again")
		}
		return
	}
	text := err.Error()
	if before := c.problem.Swap(&text); before == nil || *before != text {
		c.logger.Warn("consul's authority cannot be followed, what it said before stays", "error", err)
	}
}

// Kind is "consul".
func (c *CA) Kind() string { return Kind }

// Trust implements [identity.Authority].
func (c *CA) Trust() *identity.Trust { return c.now.Load().trust }

// Changed implements [identity.Authority].
func (c *CA) Changed() <-chan struct{} { return c.now.Load().changed }

// Certificate implements [identity.Authority].
func (c *CA) Certificate() *tls.Certificate { return c.now.Load().own }

// Status implements [identity.Authority].
func (c *CA) Status() identity.Status {
	v := c.now.Load()
	s := identity.Status{
		Kind:        Kind,
		TrustDomain: c.domain.Name,
		Generation:  v.trust.Generation,
		RenewBefore: v.trust.RenewBefore,
		LeafTTL:     v.own.Leaf.NotAfter.Sub(v.own.Leaf.NotBefore),
		Issued:      c.issued.Load(),
	}
	for i, root := range v.trust.Bundle.Roots() {
		s.Roots = append(s.Roots, describe(root, i == 0))
	}
	for _, der := range v.own.Certificate[1 : len(v.own.Certificate)-1] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			s.Intermediates = append(s.Intermediates, describe(cert, true))
		}
	}
	switch p := c.problem.Load(); {
	case p != nil:
		s.Problem = *p
	case time.Now().After(v.own.Leaf.NotAfter):
		s.Problem = "xdsserver's own certificate has expired: see why Consul does not sign another"
	}
	return s
}

func describe(cert *x509.Certificate, active bool) identity.Certificate {
	d := identity.Certificate{
		Name:      cert.Subject.CommonName,
		KeyID:     hex.EncodeToString(cert.SubjectKeyId),
		Serial:    cert.SerialNumber.Text(16),
		NotBefore: cert.NotBefore,
		NotAfter:  cert.NotAfter,
		Phase:     identity.Retiring,
	}
	if active {
		d.Phase = identity.Active
	}
	return d
}

// Close ends the connection by which Consul signs.
func (c *CA) Close() error { return c.signer.Close() }
