package xdsv3

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxDepth is how deep messages may be nested in one another.
const maxDepth = 100

// A Message is one of this package's. It is read once, by one goroutine.
type Message interface {
	// FullName is the message's, as in envoy.config.route.v3.Route.
	FullName() string
	// Unmarshal reads the message. What it is read from is not kept, and may be changed.
	// The strict one remembers, of every message in it, whether it has a field that this
	// version does not know.
	Unmarshal(b []byte) error
	UnmarshalStrict(b []byte) error
	// Unaccepted returns the name of the first field, in the order of the definition, that
	// is set although nobody here honours it; empty for none.
	Unaccepted() string
	// HasUnknown reports whether there is a field that this version does not know. It is
	// false of messages that were not read by UnmarshalStrict.
	HasUnknown() bool
	// Raw is what the message was read from. The message must not be nil.
	Raw() []byte
}

// A field is one of a message's definition.
type field struct {
	number   protowire.Number
	name     string
	kind     kind
	wire     protowire.Type
	accepted bool
	// oneof tells the fields of which one is set from others; zero is alone.
	oneof uint8
}

// kind is how a field stands on the wire, and what of it is nothing.
type kind uint8

const (
	kindVarint  kind = iota // set if not zero
	kindFixed32             // as kindVarint
	kindFixed64             // as kindVarint
	kindBytes               // set if not empty
	kindPresent             // set if it is there: a message, an optional scalar, one of a oneof
	kindList                // as kindPresent
)

// message is what all messages have.
type message struct {
	set     [2]uint64 // by place in the definition
	raw     []byte
	unknown bool
}

// mark sets whether a field is set. Of a oneof it is then the only one.
func (m *message) mark(fields []field, at int, set bool) {
	if group := fields[at].oneof; group != 0 {
		for i, f := range fields {
			if f.oneof == group {
				m.set[i/64] &^= 1 << (i % 64)
			}
		}
	}
	if set {
		m.set[at/64] |= 1 << (at % 64)
	} else {
		m.set[at/64] &^= 1 << (at % 64)
	}
}

func (m *message) unaccepted(fields []field) string {
	for i, f := range fields {
		if !f.accepted && m.set[i/64]&(1<<(i%64)) != 0 {
			return f.name
		}
	}
	return ""
}

// options are how messages are read.
type options struct {
	strict bool
	depth  int
}

func (o options) deeper() (options, error) {
	if o.depth++; o.depth > maxDepth {
		return o, fmt.Errorf("messages are nested deeper than %d", maxDepth)
	}
	return o, nil
}

// damaged says what an error of reading means.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot be read: %w", err)
}

var errUTF8 = errors.New("holds a string that is no UTF-8")

// begin is called with what the message is read from.
func (m *message) begin(b []byte) { m.raw = append(m.raw, b...) }

// skip reads over a field that nobody reads, and notes that it is set. It returns its
// length.
func (m *message) skip(fields []field, num protowire.Number, typ protowire.Type, b []byte, o options) (int, error) {
	n := protowire.ConsumeFieldValue(num, typ, b)
	if n < 0 {
		return 0, protowire.ParseError(n)
	}
	for i, f := range fields {
		if f.number != num {
			continue
		}
		// Numbers in a list may be packed.
		if typ == f.wire || f.kind == kindList && typ == protowire.BytesType {
			m.mark(fields, i, f.kind.sets(b[:n]))
			return n, nil
		}
	}
	m.unknown = m.unknown || o.strict
	return n, nil
}

// sets reports whether a value on the wire sets a field of the kind.
func (k kind) sets(b []byte) bool {
	switch k {
	case kindVarint:
		v, _ := protowire.ConsumeVarint(b)
		return v != 0
	case kindFixed32:
		v, _ := protowire.ConsumeFixed32(b)
		return v != 0
	case kindFixed64:
		v, _ := protowire.ConsumeFixed64(b)
		return v != 0
	case kindBytes:
		v, _ := protowire.ConsumeBytes(b)
		return len(v) > 0
	default:
		return true
	}
}

func consumeString(b []byte) (string, int, error) {
	v, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return "", 0, protowire.ParseError(n)
	}
	if !utf8.Valid(v) {
		return "", 0, errUTF8
	}
	return string(v), n, nil
}

func consumeVarint(b []byte) (uint64, int, error) {
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, 0, protowire.ParseError(n)
	}
	return v, n, nil
}

func consumeDouble(b []byte) (float64, int, error) {
	v, n := protowire.ConsumeFixed64(b)
	if n < 0 {
		return 0, 0, protowire.ParseError(n)
	}
	return math.Float64frombits(v), n, nil
}

// consumePacked reads numbers of a list that stand together.
func consumePacked(list []uint32, b []byte) ([]uint32, int, error) {
	packed, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return nil, 0, protowire.ParseError(n)
	}
	for len(packed) > 0 {
		v, length := protowire.ConsumeVarint(packed)
		if length < 0 {
			return nil, 0, protowire.ParseError(length)
		}
		list, packed = append(list, uint32(v)), packed[length:]
	}
	return list, n, nil
}

func consumeBytes(b []byte) ([]byte, int, error) {
	v, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return nil, 0, protowire.ParseError(n)
	}
	return v, n, nil
}

// merge reads into one of protobuf's own messages, such as a duration.
func merge(b []byte, m proto.Message, o options) error {
	return proto.UnmarshalOptions{Merge: true, DiscardUnknown: !o.strict}.Unmarshal(b, m)
}

// consumeEntry reads an entry of a map whose keys are strings.
func consumeEntry(b []byte) (key string, value []byte, n int, err error) {
	entry, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return "", nil, 0, protowire.ParseError(n)
	}
	for len(entry) > 0 {
		num, typ, tag := protowire.ConsumeTag(entry)
		if tag < 0 {
			return "", nil, 0, protowire.ParseError(tag)
		}
		entry = entry[tag:]
		length := protowire.ConsumeFieldValue(num, typ, entry)
		if length < 0 {
			return "", nil, 0, protowire.ParseError(length)
		}
		switch {
		case num == 1 && typ == protowire.BytesType:
			if key, _, err = consumeString(entry); err != nil {
				return "", nil, 0, err
			}
		case num == 2 && typ == protowire.BytesType:
			v, _ := protowire.ConsumeBytes(entry)
			value = append(value, v...) // a message that is there twice is one
		}
		entry = entry[length:]
	}
	return key, value, n, nil
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendString(b []byte, num protowire.Number, v string) ([]byte, error) {
	if !utf8.ValidString(v) {
		return nil, errUTF8
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v), nil
}

// appendEntry appends an entry of a map.
func appendEntry(b []byte, num protowire.Number, key string, value []byte) ([]byte, error) {
	entry, err := appendString(nil, 1, key)
	return appendBytes(b, num, appendBytes(entry, 2, value)), err
}
