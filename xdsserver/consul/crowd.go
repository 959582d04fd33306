package consul

import "context"

// Crowd returns how many things are watched, and how many queries may wait at one time;
// where the first is more, changes are seen late.
func (c *Client) Crowd() (watched, connections int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watching, cap(c.slots)
}

// join counts one more who watches.
func (c *Client) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching++
	if c.watching <= cap(c.slots) {
		return
	}
	c.crowded()
	if !c.warned {
		c.warned = true
		c.logger.Warn("more is watched in Consul than connections may wait: changes are seen up to some seconds late; reach it by https://, "+
			"or raise --consul-connections here and limits.http_max_conns_per_client there", "connections", cap(c.slots))
	}
}

// leave counts one less.
func (c *Client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching--; c.watching == cap(c.slots) {
		c.calm, c.crowded = context.WithCancel(context.Background())
	}
}

// peace ends when more want to wait than may.
func (c *Client) peace() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calm
}
