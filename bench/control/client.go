package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
)

// perClient is how many services a client subscribes to: the first of the mesh, which all
// do, and others that differ from client to client.
const perClient = 10

// A client is on a connection of its own, and made to cost next to nothing: one goroutine,
// HTTP/2 frames by hand, one write for an acknowledgement. Clients share the machine with
// the server they measure, so that what they burn, the server lacks.
type client struct {
	fleet    *fleet
	form     *form
	conn     net.Conn
	framer   *http2.Framer
	node     []byte // encoded; nil once sent
	names    []byte // the fields of a subscription
	buffer   []byte // of a message that came in parts
	out      []byte
	services [perClient]int
	ready    chan struct{} // closed when it has its first configuration

	mu sync.Mutex
	// seen is how many resources of each type came before it was complete.
	seen     [kinds]int
	complete bool
	// have is the last number that came of each service, by kind.
	have [kinds][perClient]uint32
	// got are the changes that came since reset.
	got []arrival
}

// An arrival is a change that a client has.
type arrival struct {
	kind    kind
	service int
	number  uint32
	// before is the number that the client had until then.
	before uint32
	at     time.Time
}

// dial opens a connection and a stream on it, and asks for everything.
func (f *fleet) dial(ctx context.Context, i int) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, err
	}
	// A client goes without leaving its port occupied.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &client{
		fleet: f, form: f.form, conn: conn, framer: http2.NewFramer(conn, bufio.NewReaderSize(conn, 2<<10)),
		ready: make(chan struct{}),
	}
	c.framer.SetReuseFrames()
	for j := 1; j < perClient; j++ {
		c.services[j] = 1 + (i*(perClient-1)+j-1)%(f.world.services-1)
	}
	for _, s := range c.services {
		c.names = protowire.AppendTag(c.names, c.form.names, protowire.BytesType)
		c.names = protowire.AppendString(c.names, serviceName(s))
	}
	id, err := proto.Marshal(&corev3.Node{
		Id: "web/" + strconv.Itoa(i), Cluster: "bench", UserAgentName: "wire",
		UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1"},
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.node = protowire.AppendTag(nil, c.form.node, protowire.BytesType)
	c.node = protowire.AppendBytes(c.node, id)
	if err := c.open(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// open says hello, with windows so large that they need no updates.
func (c *client) open() error {
	var headers bytes.Buffer
	h := hpack.NewEncoder(&headers)
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/envoy.service.discovery.v3.AggregatedDiscoveryService/" + c.form.method},
		{":authority", c.fleet.address},
		{"content-type", "application/grpc"},
		{"user-agent", "wire/1"},
		{"te", "trailers"},
	} {
		if err := h.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	if _, err := c.conn.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	err := errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}),
		c.framer.WriteWindowUpdate(0, 1<<30),
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true}),
	)
	for _, url := range ordinary.Types {
		err = errors.Join(err, c.request([]byte(url), nil, nil, true))
	}
	return err
}

// request asks for the subscription, or answers a response.
func (c *client) request(typeURL, version, nonce []byte, names bool) error {
	const prefix = 5
	c.out = append(c.out[:0], make([]byte, prefix)...)
	c.out = append(c.out, c.node...)
	c.node = nil
	if names {
		c.out = append(c.out, c.names...)
	}
	for _, f := range []struct {
		n protowire.Number
		v []byte
	}{{c.form.typeURL, typeURL}, {c.form.version, version}, {c.form.nonce, nonce}} {
		if f.n != 0 && len(f.v) > 0 {
			c.out = protowire.AppendTag(c.out, f.n, protowire.BytesType)
			c.out = protowire.AppendBytes(c.out, f.v)
		}
	}
	binary.BigEndian.PutUint32(c.out[1:], uint32(len(c.out)-prefix))
	return c.framer.WriteData(1, false, c.out)
}

// run takes responses and acknowledges them until the connection is closed.
func (c *client) run() error {
	for {
		f, err := c.framer.ReadFrame()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = c.framer.WritePing(true, f.Data)
			}
		case *http2.DataFrame:
			err = c.data(f.Data())
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			err = fmt.Errorf("the server ended the stream: %v", f)
		}
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// data takes what came of messages.
func (c *client) data(b []byte) error {
	if len(c.buffer) > 0 {
		c.buffer = append(c.buffer, b...)
		b = c.buffer
	}
	for len(b) >= 5 {
		size := 5 + int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < size {
			break
		}
		if err := c.answer(b[5:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	c.buffer = append(c.buffer[:0], b...)
	return nil
}

// answer takes a response in and acknowledges it.
func (c *client) answer(b []byte) error {
	r := response{form: c.form}
	if err := r.parse(b); err != nil {
		return err
	}
	now := time.Now()
	c.note(&r, now)
	return c.request(r.typeURL, r.version, r.nonce, c.form.repeats)
}

// note takes in what a response says, and tells the fleet of changes once the client has
// its first configuration.
func (c *client) note(r *response, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range r.numbers {
		i := slices.Index(c.services[:], n.service)
		if i < 0 || c.have[r.kind][i] == n.number {
			continue
		}
		a := arrival{kind: r.kind, service: n.service, number: n.number, before: c.have[r.kind][i], at: now}
		c.have[r.kind][i] = n.number
		if c.complete {
			c.got = append(c.got, a)
			c.fleet.arrived(a)
		}
	}
	if c.complete {
		return
	}
	c.seen[r.kind] += r.resources
	if c.complete = slices.Min(c.seen[:]) >= perClient; c.complete {
		close(c.ready)
	}
}

// reset forgets the changes that came.
func (c *client) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = c.got[:0]
}

// arrivals returns the changes that came since.
func (c *client) arrivals() []arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}
