package control

import (
	"errors"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
)

// A kind is one of [ordinary.Types], by its place.
type kind int

const (
	listeners kind = iota
	routes
	clusters
	endpoints
	kinds
)

// A form is one of the protocol's two: state of the world, or delta.
type form struct {
	name, method string
	// The numbers of a request's fields, zero for what it does not have, and of a
	// response's nonce. What else is read of a response, both number alike.
	node, names, typeURL, version, nonce protowire.Number
	// body is the number of the Any within a resource; zero where the resource is the Any.
	body protowire.Number
	// repeats says that each request names the whole subscription.
	repeats bool
}

var (
	sotw = &form{
		name: "state of the world", method: "StreamAggregatedResources",
		version: 1, node: 2, names: 3, typeURL: 4, nonce: 5, repeats: true,
	}
	delta = &form{
		name: "delta", method: "DeltaAggregatedResources",
		node: 1, typeURL: 2, names: 3, nonce: 6, body: 2,
	}
)

// The fields of a response.
const (
	fieldVersion   = 1
	fieldResources = 2
	fieldTypeURL   = 4
	fieldNonce     = 5
	fieldAnyValue  = 2
	fieldName      = 1 // of what has a number: endpoints and routes
)

// A response is what a client reads of one: whose numbers are in it, and what it takes to
// acknowledge it. It is valid as long as the message.
type response struct {
	form                    *form
	typeURL, version, nonce []byte
	kind                    kind
	resources               int
	numbers                 []numbered
}

// A numbered says which version of a service's endpoints or routes came.
type numbered struct {
	service int
	number  uint32
}

var errMalformed = errors.New("the server sent what is no protobuf")

func (r *response) parse(b []byte) error {
	// The type comes after the resources that it is of.
	err := fields(b, func(n protowire.Number, _ uint64, v []byte) {
		switch n {
		case fieldVersion:
			r.version = v
		case fieldResources:
			r.resources++
		case fieldTypeURL:
			r.typeURL = v
		case fieldNonce:
			r.nonce = v
		}
	})
	if err != nil {
		return err
	}
	for k, url := range ordinary.Types {
		if string(r.typeURL) == url {
			r.kind = kind(k)
		}
	}
	path := ordinary.NumberIn[ordinary.Types[r.kind]]
	if path == nil {
		return nil
	}
	return fields(b, func(n protowire.Number, _ uint64, v []byte) {
		if n == fieldResources {
			r.numbers = append(r.numbers, r.number(v, path))
		}
	})
}

// number finds the number in a resource.
func (r *response) number(b []byte, path []int32) numbered {
	if r.form.body != 0 {
		b, _ = within(b, r.form.body)
	}
	b, _ = within(b, fieldAnyValue)
	name, _ := within(b, fieldName)
	var value uint64
	for _, n := range path {
		b, value = within(b, protowire.Number(n))
	}
	return numbered{service: serviceOf(string(name)), number: uint32(value)}
}

// within returns the last value of a field: its bytes or its number.
func within(b []byte, field protowire.Number) (value []byte, number uint64) {
	_ = fields(b, func(n protowire.Number, x uint64, v []byte) {
		if n == field {
			value, number = v, x
		}
	})
	return value, number
}

// fields calls f with each field of a message that is a varint or has a length.
func fields(b []byte, f func(n protowire.Number, number uint64, value []byte)) error {
	for len(b) > 0 {
		n, wire, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errMalformed
		}
		b = b[size:]
		var number uint64
		var value []byte
		switch wire {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		default:
			size = protowire.ConsumeFieldValue(n, wire, b)
		}
		if size < 0 {
			return errMalformed
		}
		if wire == protowire.BytesType || wire == protowire.VarintType {
			f(n, number, value)
		}
		b = b[size:]
	}
	return nil
}

const (
	servicePrefix = "service-"
	serviceSuffix = ".shop"
)

func serviceName(i int) string { return servicePrefix + strconv.Itoa(i) + serviceSuffix }

// serviceOf is the service of a name, -1 for one that is none of ours.
func serviceOf(name string) int {
	i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, servicePrefix), serviceSuffix))
	if err != nil {
		return -1
	}
	return i
}
