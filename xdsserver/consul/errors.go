package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"
)

// ErrReadOnly is returned by writes of a Client that may not write.
var ErrReadOnly = errors.New("consul: this xdsserver only reads from Consul (--consul-read-only)")

// ErrConflict is returned by a write that was made for another state than the one that
// Consul is in: read again, and repeat.
var ErrConflict = errors.New("consul: somebody else wrote meanwhile")

// Denied reports whether Consul refused by its ACLs.
func Denied(err error) bool {
	status := api.StatusError{}
	return errors.As(err, &status) && status.Code == http.StatusForbidden
}

// Explain says what failed, where, and what to do about it where that is known. Nil
// stays nil.
func (c *Client) Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // without the whole address of the request
	}
	status := api.StatusError{}
	switch {
	case errors.Is(err, ErrReadOnly), errors.Is(err, ErrConflict):
		return fmt.Errorf("%s: %w", what, err)
	case errors.As(err, &status) && status.Code == http.StatusForbidden:
		return fmt.Errorf("%s: consul at %s refuses: %s: give xdsserver a token that may (docs/consul.md lists the rules): %w",
			what, c.Address(), strings.TrimSpace(status.Body), err)
	case errors.As(err, &status) && strings.Contains(status.Body, "No cluster leader"):
		return fmt.Errorf("%s: consul at %s has no leader now: %w", what, c.Address(), err)
	case errors.As(err, &status) && status.Code == http.StatusTooManyRequests:
		return fmt.Errorf("%s: consul at %s takes no more connections from here: raise limits.http_max_conns_per_client there, "+
			"or lower --consul-connections: %w", what, c.Address(), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: consul at %s did not answer in time: %w", what, c.Address(), err)
	}
	return fmt.Errorf("%s: consul at %s: %w", what, c.Address(), err)
}
