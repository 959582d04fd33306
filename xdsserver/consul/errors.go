package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"
)

// maxBody is how much of what Consul says about a failure is repeated, in bytes.
const maxBody = 500

// ErrReadOnly is returned by writes of a Client that may not write.
var ErrReadOnly = errors.New("consul: this xdsserver only reads from Consul (--consul-read-only)")

// ErrConflict is returned by a write that was made for another state than the one that
// Consul is in: read again, and repeat.
var ErrConflict = errors.New("consul: somebody else wrote meanwhile")

// errDenied is in what a part of a transaction was refused by ACLs with: Consul answers
// that with the status of a conflict.
var errDenied = errors.New("permission denied")

// Denied reports whether Consul refused by its ACLs.
func Denied(err error) bool {
	status := api.StatusError{}
	return errors.Is(err, errDenied) || errors.As(err, &status) && status.Code == http.StatusForbidden
}

// An explained error has a sentence for people, and its cause for programs.
type explained struct {
	text  string
	cause error
}

func (e *explained) Error() string { return e.text }

// Unwrap returns the cause.
func (e *explained) Unwrap() error { return e.cause }

// Explain says what failed, where, and what to do about it where that is known. Nil
// stays nil.
func (c *Client) Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // without the whole address of the request
	}
	if errors.Is(err, ErrReadOnly) || errors.Is(err, ErrConflict) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return &explained{text: fmt.Sprintf("%s: consul at %s %s", what, c.Address(), said(err)), cause: err}
}

// said is what Consul did, to follow its name.
func said(err error) string {
	status := api.StatusError{}
	switch {
	case errors.Is(err, errDenied):
		return fmt.Sprintf("refuses: %v: give xdsserver a token that may (docs/consul.md lists the rules)", err)
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	case !errors.As(err, &status):
		return "does not answer: " + reason(err)
	}
	body := brief(status.Body)
	switch {
	case status.Code == http.StatusForbidden:
		return fmt.Sprintf("refuses: %s: give xdsserver a token that may (docs/consul.md lists the rules)", body)
	case status.Code == http.StatusTooManyRequests:
		return "takes no more from here: " + body + ": raise limits.http_max_conns_per_client there, or lower --consul-connections"
	case strings.Contains(body, "No cluster leader"):
		return "has no leader now: " + body
	}
	return fmt.Sprintf("answers with status %d: %s", status.Code, body)
}

// reason is an error without what differs each time: the port on this side of a
// connection.
func reason(err error) string {
	if known, ok := errors.AsType[*explained](err); ok {
		return known.text
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Source == nil || op.Addr == nil {
		return brief(err.Error())
	}
	return brief(fmt.Sprintf("%s %s: %v", op.Op, op.Addr, op.Err))
}

// brief is one line of a text that may be long.
func brief(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxBody {
		text = strings.ToValidUTF8(text[:maxBody], "") + "..."
	}
	return text
}

// alike reports whether two errors say the same but for numbers, as of ports.
func alike(a, b string) bool {
	digit := func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}
	return strings.Map(digit, a) == strings.Map(digit, b)
}
