package serve

import (
	"strconv"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxResponse is where a response is closed and the rest left for the next, for
// the forms that allow it: clients take 4 MiB unless told otherwise.
const maxResponse = 1 << 20

// freeQuota is how much may be unanswered on a stream for a send not to block.
// grpc lets a message of any size pass while anything is left of its 64 KiB of
// write quota, and unanswered bytes are at least those not yet written.
const freeQuota = 48 << 10

// The numbers of the fields of DiscoveryResponse and DeltaDiscoveryResponse
// beside the resources; both number these alike.
const (
	fieldVersion = 1
	fieldTypeURL = 4
	fieldNonce   = 5
	fieldRemoved = 6 // delta only
)

// A response is an encoded DiscoveryResponse or DeltaDiscoveryResponse: a head
// of its own, and resources it shares with other streams.
type response struct {
	head  mem.SliceBuffer
	parts mem.BufferSlice // the head first
	size  int
	// resources counts what is in it, sum and version identify it.
	resources int
	sum       uint64
	version   string
	// mayBlock says that flow control may hold the send up.
	mayBlock bool
}

// newResponse returns an empty response with room for n resources.
func newResponse(n int) *response {
	r := &response{parts: make(mem.BufferSlice, 1, 1+2*n)}
	r.parts[0] = &r.head
	return r
}

// add puts a resource into the response.
func (r *response) add(e *entry, delta bool) {
	opening := e.sotw
	if delta {
		opening = e.delta
	}
	r.parts = append(r.parts, opening, e.body)
	r.size += opening.Len() + len(e.raw)
	r.resources++
	r.sum += e.sum // the order of names is no part of the content
	r.version = e.version
}

// remove says in a delta response that a name is gone.
func (r *response) remove(name string) {
	before := len(r.head)
	r.head = protowire.AppendTag(r.head, fieldRemoved, protowire.BytesType)
	r.head = protowire.AppendString(r.head, name)
	r.size += len(r.head) - before
}

// seal completes the response. The version of a state-of-the-world response is
// made from its content alone, the resource's own when there is one: a client
// that reconnects, to this process or another, names a version that means the
// same there.
func (r *response) seal(k kind, nonce uint64, delta bool, revision uint64) {
	version := r.version
	switch {
	case delta:
		version = strconv.FormatUint(revision, 10)
	case r.resources != 1:
		version = strconv.FormatUint(r.sum, 16)
	}
	before := len(r.head)
	if r.head == nil {
		r.head = make([]byte, 0, len(version)+len(k.url())+30)
	}
	head := []byte(r.head)
	head = protowire.AppendTag(head, fieldVersion, protowire.BytesType)
	head = protowire.AppendString(head, version)
	head = protowire.AppendTag(head, fieldTypeURL, protowire.BytesType)
	head = protowire.AppendString(head, k.url())
	head = protowire.AppendTag(head, fieldNonce, protowire.BytesType)
	var digits [20]byte
	head = protowire.AppendBytes(head, strconv.AppendUint(digits[:0], nonce, 10))
	r.head = head
	r.size += len(head) - before
}
