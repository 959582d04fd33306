package consul

import (
	"context"
	"net"
)

// What tests know of time.
const (
	WaitFor, AnswerWithin = waitFor, answerWithin
	ChangeBurst           = changeBurst
	ChangeGap             = changeGap
	SessionTTL, ResignFor = sessionTTL, resignFor
	TokenPoll             = tokenPoll
)

// Dial has the client reach Consul in another way than the network.
func (c *Client) Dial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.http.next.DialContext = dial
}

// Bound changes how long an answer may be, in bytes.
func (c *Client) Bound(most int64) { c.http.most = most }

// Endpoint takes an address apart.
func Endpoint(c Config) (string, error) {
	at, err := c.endpoint()
	return at.String(), err
}

// With is the fence as of a client.
func (f Fence) With(c *Client) Fence { return Fence{client: c, key: "lock"} }
