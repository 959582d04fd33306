package serve

import (
	"hash/fnv"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// An entry is one version of one resource, ready to be put into responses of
// both forms. It is immutable and shared by all streams.
type entry struct {
	name, version string
	// raw is the encoded Any, the snapshot's own bytes.
	raw []byte
	// sum tells contents apart in the version of a response that carries
	// several; equal in every process.
	sum uint64
	// body is raw. Before it goes sotw or delta, which opens the field of the
	// response that holds it. They are buffers already so that sending one
	// allocates nothing for it.
	sotw, delta, body mem.Buffer
}

// The numbers of the fields that hold resources in responses, and of the fields
// of envoy.service.discovery.v3.Resource.
const (
	fieldResources       = 2
	fieldResourceVersion = 1
	fieldResourceBody    = 2
	fieldResourceName    = 3
)

func newEntry(name string, r *snapshot.Resource) *entry {
	length := uint64(len(r.Any))

	sotw := protowire.AppendTag(nil, fieldResources, protowire.BytesType)
	sotw = protowire.AppendVarint(sotw, length)

	var inside []byte // the Resource up to the Any's first byte
	inside = protowire.AppendTag(inside, fieldResourceVersion, protowire.BytesType)
	inside = protowire.AppendString(inside, r.Version)
	inside = protowire.AppendTag(inside, fieldResourceName, protowire.BytesType)
	inside = protowire.AppendString(inside, name)
	inside = protowire.AppendTag(inside, fieldResourceBody, protowire.BytesType)
	inside = protowire.AppendVarint(inside, length)
	delta := protowire.AppendTag(nil, fieldResources, protowire.BytesType)
	delta = protowire.AppendVarint(delta, uint64(len(inside))+length)
	delta = append(delta, inside...)

	h := fnv.New64a()
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write([]byte(r.Version))

	return &entry{
		name:    name,
		version: r.Version,
		raw:     r.Any,
		sum:     h.Sum64(),
		sotw:    mem.SliceBuffer(sotw),
		delta:   mem.SliceBuffer(delta),
		body:    mem.SliceBuffer(r.Any),
	}
}
