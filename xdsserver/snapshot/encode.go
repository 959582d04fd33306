package snapshot

import (
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// versionLength is how many bytes of the hash make a version. 64 bits tell the
// forms of one resource apart; nobody gains by making two collide.
const versionLength = 8

// deterministic makes equal messages equal bytes: grpc-go compares resources by
// their bytes, and takes others for a change.
var deterministic = proto.MarshalOptions{Deterministic: true}

func marshal(m proto.Message) ([]byte, error) { return deterministic.Marshal(m) }

// versionOf is a hash of the content.
func versionOf(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:versionLength])
}

// wrap encodes a google.protobuf.Any around value.
func wrap(typeURL string, value []byte) []byte {
	size := protowire.SizeTag(1) + protowire.SizeBytes(len(typeURL)) + protowire.SizeTag(2) + protowire.SizeBytes(len(value))
	b := make([]byte, 0, size)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, typeURL)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, value)
}
