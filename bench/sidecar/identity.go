package sidecar

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
)

// An Identity is who one end is, and who the other may be.
type Identity struct {
	// Cert, Key and CA are PEM files: the chain with the leaf first, its key, and the roots
	// that the other end's chain must lead to.
	Cert, Key, CA string
	// ClientID and ServerID are SPIFFE ids: the one that a server admits, the one that a
	// client must reach. Empty is the one in the other end's leaf.
	ClientID, ServerID string
}

// settings are what the configuration of a proxy is made of.
type settings struct {
	Identity

	// Bundle is a file of Cert and Key together, the one form that HAProxy takes.
	Bundle string
	// Listen and Upstreams are host:port.
	Listen    string
	Upstreams []string
	// Peer is the SPIFFE id of the other end, of this trust domain.
	Peer, TrustDomain string
}

// settings are those of the two ends, yet without addresses.
func (c Config) settings() (client, server settings, err error) {
	if len(c.Upstreams) == 0 {
		return client, server, errors.New("no upstreams: set Config.Upstreams")
	}
	if client, err = c.Client.settings(c.Client.ServerID, c.Server.Cert); err != nil {
		return client, server, err
	}
	server, err = c.Server.settings(c.Server.ClientID, c.Client.Cert)
	return client, server, err
}

// settings are those of one end that meets a peer, whose id is in its certificate if empty.
func (i Identity) settings(peer, cert string) (settings, error) {
	id, err := url.Parse(peer)
	if peer == "" {
		id, err = leafID(cert)
	}
	if err != nil {
		return settings{}, err
	}
	return settings{Identity: i, Peer: id.String(), TrustDomain: id.Host}, nil
}

// leafID reads who a chain is of.
func leafID(file string) (*url.URL, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", file)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != "spiffe" {
		return nil, fmt.Errorf("%s has no SPIFFE id", file)
	}
	return leaf.URIs[0], nil
}

// bundle writes chain and key into one file.
func (i Identity) bundle(to string) error {
	var all [][]byte
	for _, file := range []string{i.Cert, i.Key} {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, data)
	}
	return os.WriteFile(to, bytes.Join(all, []byte("\n")), 0o600) //nolint:gosec // into the scratch of the pair
}
