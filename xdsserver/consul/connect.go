package consul

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/proto-public/pbconnectca"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	// grpcPort and grpcTLSPort are where Consul's servers speak gRPC, unless they were
	// told otherwise.
	grpcPort, grpcTLSPort = "8502", "8503"
	// maxChain is in certificates.
	maxChain = 8
)

// ConnectRoots are what certificates of Consul's authority are verified against.
type ConnectRoots struct {
	TrustDomain string
	// Active is the id of the root that signs now.
	Active string
	// Roots are DER, the active one first.
	Roots [][]byte
}

// WatchConnectRoots follows the roots of Consul's authority.
func (c *Client) WatchConnectRoots(emit func(Answer[ConnectRoots])) Watch[ConnectRoots] {
	return Watch[ConnectRoots]{
		What: "roots of Consul's authority",
		Fetch: func(q *api.QueryOptions) (ConnectRoots, *api.QueryMeta, error) {
			list, meta, err := c.api.Agent().ConnectCARoots(q)
			if err != nil {
				return ConnectRoots{}, nil, err
			}
			roots, err := connectRoots(list)
			return roots, meta, err
		},
		Emit: emit,
	}
}

func connectRoots(list *api.CARootList) (ConnectRoots, error) {
	out := ConnectRoots{TrustDomain: list.TrustDomain, Active: list.ActiveRootID}
	for _, r := range list.Roots {
		block, _ := pem.Decode([]byte(r.RootCertPEM))
		if block == nil || block.Type != "CERTIFICATE" {
			return ConnectRoots{}, fmt.Errorf("root %.80q is no certificate in PEM", r.Name)
		}
		if r.ID == list.ActiveRootID {
			out.Roots = append([][]byte{block.Bytes}, out.Roots...)
		} else {
			out.Roots = append(out.Roots, block.Bytes)
		}
	}
	if len(out.Roots) == 0 || out.TrustDomain == "" {
		return ConnectRoots{}, errors.New("consul's authority has no root: is connect enabled there?")
	}
	return out, nil
}

// Where returns the name of the datacenter, which the agent says unless it was
// configured.
func (c *Client) Where(ctx context.Context) (datacenter string, err error) {
	if c.config.Datacenter != "" {
		return c.config.Datacenter, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var self struct{ Config struct{ Datacenter string } }
	if _, err := c.api.Raw().Query("/v1/agent/self", &self, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return "", c.Explain("ask the agent who it is", err)
	}
	if self.Config.Datacenter == "" {
		return "", fmt.Errorf("consul at %s does not say its datacenter: set --consul-datacenter", c.Address())
	}
	return self.Config.Datacenter, nil
}

// A Signer has Consul's authority sign, by the gRPC API of its servers: the HTTP API has
// keys made by an agent, and they should never leave their process.
type Signer struct {
	client *Client
	conn   *grpc.ClientConn
}

// Signer returns a Signer that asks the server at address, host:port; empty is the host
// of the Client, at Consul's usual port. The caller closes it.
func (c *Client) Signer(address string) (*Signer, error) {
	secure, err := c.config.tls(func() {})
	if err != nil {
		return nil, err
	}
	port, creds := grpcPort, insecure.NewCredentials()
	if secure != nil {
		port, creds = grpcTLSPort, credentials.NewTLS(secure)
	}
	if address == "" {
		host, _, err := net.SplitHostPort(c.endpoint.host)
		if err != nil || c.endpoint.scheme == "unix" {
			return nil, fmt.Errorf("consul: %s is no host with a gRPC port: say where a Consul server has it (--consul-grpc)", c.Address())
		}
		address = net.JoinHostPort(host, port)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("consul: gRPC address %q: want host:port", address)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("consul: gRPC: %w", err)
	}
	return &Signer{client: c, conn: conn}, nil
}

// Close ends its connection.
func (s *Signer) Close() error { return s.conn.Close() }

// Sign has a certificate request, DER, signed, which names one identity of Consul's. It
// returns the certificates, DER, leaf first, without the root. An error is a status.
func (s *Signer) Sign(ctx context.Context, request []byte) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	token, err := s.client.tokens.current()
	if err != nil {
		return nil, err
	}
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-consul-token", token)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})
	answer, err := pbconnectca.NewConnectCAServiceClient(s.conn).Sign(ctx, &pbconnectca.SignRequest{Csr: string(text)})
	if err != nil {
		return nil, err
	}
	return decodeChain([]byte(answer.GetCertPem()))
}

func decodeChain(text []byte) ([][]byte, error) {
	var chain [][]byte
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" || len(chain) == maxChain {
			return nil, errors.New("consul: what its authority signed is no chain of certificates")
		}
		chain = append(chain, block.Bytes)
	}
	if len(chain) == 0 {
		return nil, errors.New("consul: its authority signed nothing")
	}
	return chain, nil
}
