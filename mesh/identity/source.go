package identity

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

type Source struct{}

func New(config Config) (*Source, error) {
	_, err := config.withDefaults()
	return &Source{}, err
}

func (s *Source) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	return errors.New("later")
}
func (s *Source) Current() *Identity                          { return nil }
func (s *Source) Wait(ctx context.Context) (*Identity, error) { return nil, errors.New("later") }
func (s *Source) SetTrust(bundle *resource.TrustBundle)       {}
func (s *Source) Status() Status                              { return Status{} }

func (s *Source) ControlCredentials() credentials.TransportCredentials { return nil }
func (s *Source) ClientCredentials() credentials.TransportCredentials  { return nil }
func (s *Source) ServerCredentials(permissiveUntil func() time.Time) credentials.TransportCredentials {
	return nil
}
