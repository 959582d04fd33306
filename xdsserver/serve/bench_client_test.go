package serve

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A wireClient is a state-of-the-world client on a connection of its own, made
// to cost next to nothing: one goroutine, HTTP/2 frames by hand, one write for
// an acknowledgement. The clients share the machine with the server they
// measure, so that what they burn, the server lacks.
type wireClient struct {
	conn   net.Conn
	framer *http2.Framer
	node   []byte // encoded; nil once sent
	names  []byte // the resource_names fields of every request
	buffer []byte // of a message that came in parts
	out    []byte
	// changed is called when the endpoints of the first service have come.
	changed func(at time.Time)
	// first is told of each response until it is nil.
	first func()
}

// dialWire opens a connection and a stream on it.
func dialWire(address, node string, names []string) (*wireClient, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &wireClient{conn: conn, framer: http2.NewFramer(conn, bufio.NewReaderSize(conn, 4<<10))}
	c.framer.SetReuseFrames()
	for _, n := range names {
		c.names = protowire.AppendTag(c.names, sotwLayout.names, protowire.BytesType)
		c.names = protowire.AppendString(c.names, n)
	}
	id, err := proto.Marshal(&corev3.Node{
		Id: node, Cluster: "bench", UserAgentName: "wire",
		UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1"},
	})
	if err != nil {
		return nil, err
	}
	c.node = protowire.AppendTag(nil, sotwLayout.node, protowire.BytesType)
	c.node = protowire.AppendBytes(c.node, id)
	return c, c.open(address)
}

// open says hello, with windows so large that they need no updates.
func (c *wireClient) open(address string) error {
	var headers bytes.Buffer
	h := hpack.NewEncoder(&headers)
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"},
		{":authority", address},
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
	return errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}),
		c.framer.WriteWindowUpdate(0, 1<<30),
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true}),
	)
}

// request sends the subscription, in answer to a response or to none.
func (c *wireClient) request(typeURL, version, nonce []byte) error {
	const prefix = 5
	c.out = append(c.out[:0], make([]byte, prefix)...)
	c.out = append(c.out, c.node...)
	c.node = nil
	c.out = append(c.out, c.names...)
	for _, f := range []struct {
		n protowire.Number
		v []byte
	}{{sotwLayout.typeURL, typeURL}, {sotwLayout.version, version}, {sotwLayout.nonce, nonce}} {
		if len(f.v) > 0 {
			c.out = protowire.AppendTag(c.out, f.n, protowire.BytesType)
			c.out = protowire.AppendBytes(c.out, f.v)
		}
	}
	binary.BigEndian.PutUint32(c.out[1:], uint32(len(c.out)-prefix))
	return c.framer.WriteData(1, false, c.out)
}

// run takes responses and acknowledges them until the connection ends.
func (c *wireClient) run() error {
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
		if err != nil {
			return err
		}
	}
}

// data takes what came of messages.
func (c *wireClient) data(b []byte) error {
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

// answer acknowledges a response.
func (c *wireClient) answer(b []byte) error {
	var typeURL, version, nonce []byte
	resources := 0
	err := fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case fieldVersion:
			version = v
		case fieldResources:
			resources++
		case fieldTypeURL:
			typeURL = v
		case fieldNonce:
			nonce = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.first != nil {
		c.first()
	}
	if resources == 1 && string(typeURL) == eds {
		c.changed(time.Now())
	}
	return c.request(typeURL, version, nonce)
}

// benchNames are the services of one client: the one that changes, and nine that
// differ from client to client.
func benchNames(client int) []string {
	names := []string{serviceName(0)}
	for i := range 9 {
		names = append(names, serviceName(1+(client*9+i)%(benchServices-1)))
	}
	return names
}

func nodeName(i int) string { return "web/" + strconv.Itoa(i) }
