package serve

import (
	"errors"
	"hash/maphash"
	"slices"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// A request is a DiscoveryRequest or DeltaDiscoveryRequest in its encoded form.
// Nearly all requests are acknowledgements that repeat a subscription known
// already: reading them in place, without making strings of the names, is what
// keeps an update cheap. Slices in it are valid until free.
type request struct {
	encoded

	typeURL, version, nonce []byte
	// node and failure are encoded messages; nil when absent.
	node, failure []byte
	// names is a hash of all resource names in their order.
	names uint64
	// locators says that resources are asked for other than by name.
	locators bool
}

// An encoded is a request as it comes. Every stream holds one while it waits for the next,
// and no more than that.
type encoded struct {
	size   int
	buffer mem.Buffer // nil when the size is above maxRequest
}

// The numbers of the fields of a request that differ between its forms.
type layout struct {
	node, typeURL, names, nonce, failure, locators protowire.Number
	// version is in state-of-the-world requests only; unsubscribe, initial and
	// unlocators in delta requests only. Zero is the number of no field.
	version, unsubscribe, initial, unlocators protowire.Number
}

var (
	sotwLayout  = layout{version: 1, node: 2, names: 3, typeURL: 4, nonce: 5, failure: 6, locators: 7}
	deltaLayout = layout{
		node: 1, typeURL: 2, names: 3, unsubscribe: 4, initial: 5, nonce: 6, failure: 7,
		locators: 8, unlocators: 9,
	}
)

// seed of the hash of names. Random, so that nobody can make lists that collide.
var seed = maphash.MakeSeed()

var errMalformed = errors.New("the request is not valid protobuf")

// free gives the encoded form back.
func (r *encoded) free() {
	if r.buffer != nil {
		r.buffer.Free()
	}
	*r = encoded{}
}

// parse finds the fields.
func (r *request) parse(l *layout) error {
	var h maphash.Hash
	h.SetSeed(seed)
	err := fields(r.buffer.ReadOnlyData(), func(n protowire.Number, v []byte) error {
		switch n {
		case l.version:
			r.version = v
		case l.node:
			// Parts of a message that come apart are one message.
			r.node = join(r.node, v)
		case l.names:
			var length [4]byte // "a","bc" is not "ab","c"
			length[0], length[1], length[2], length[3] = byte(len(v)), byte(len(v)>>8), byte(len(v)>>16), 1
			h.Write(length[:])
			h.Write(v)
		case l.typeURL:
			r.typeURL = v
		case l.nonce:
			r.nonce = v
		case l.failure:
			r.failure = join(r.failure, v)
		case l.locators, l.unlocators:
			r.locators = true
		}
		return nil
	})
	r.names = h.Sum64()
	return err
}

// each calls f with the value of each occurrence of a field.
func (r *request) each(field protowire.Number, f func(value []byte) error) error {
	return fields(r.buffer.ReadOnlyData(), func(n protowire.Number, v []byte) error {
		if n != field {
			return nil
		}
		return f(v)
	})
}

// fields calls f with the number and value of each length-delimited field of a
// message; requests have no others, and what has is not ours.
func fields(b []byte, f func(n protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		n, wire, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errMalformed
		}
		b = b[size:]
		if wire != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, wire, b); size < 0 {
				return errMalformed
			}
			b = b[size:]
			continue
		}
		value, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return errMalformed
		}
		if err := f(n, value); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// join appends without touching what is behind a, which is the request itself.
func join(a, b []byte) []byte {
	if a == nil {
		return b
	}
	return append(slices.Clip(a), b...)
}

// pair reads an entry of a map of strings.
func pair(b []byte) (key, value []byte, err error) {
	err = fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			key = v
		case 2:
			value = v
		}
		return nil
	})
	return key, value, err
}
