package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// recordFormat is the first byte of each record; a reader that meets another
// refuses the database instead of guessing.
const recordFormat = 1

// recordHeader is the format byte and the checksum.
const recordHeader = 1 + crc32.Size

// castagnoli is the polynomial that processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errShort    = errors.New("record is too short")
	errChecksum = errors.New("checksum does not match")
)

// seal makes the record that is stored under key. bbolt has checksums for its two
// meta pages only: a flipped bit in a value, or a value that ended up under
// another key, is found by the record's own.
func seal(key, payload []byte) []byte {
	record := make([]byte, recordHeader, recordHeader+len(payload))
	record[0] = recordFormat
	binary.BigEndian.PutUint32(record[1:], checksum(key, payload))
	return append(record, payload...)
}

// unseal returns the payload of the record under key. It is part of record.
func unseal(key, record []byte) ([]byte, error) {
	if len(record) < recordHeader {
		return nil, errShort
	}
	if record[0] != recordFormat {
		return nil, fmt.Errorf("record has format %d, this xdsserver reads %d", record[0], recordFormat)
	}
	payload := record[recordHeader:]
	if binary.BigEndian.Uint32(record[1:]) != checksum(key, payload) {
		return nil, errChecksum
	}
	return payload, nil
}

func checksum(key, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, []byte{0})
	return crc32.Update(sum, castagnoli, payload)
}

// encodeObject is revision and time of the change as varints, then the YAML as it
// was given: binary so that not a byte of it changes on the way.
func encodeObject(o Object) []byte {
	b := make([]byte, 0, 2*binary.MaxVarintLen64+len(o.YAML))
	b = binary.AppendUvarint(b, o.Revision)
	b = binary.AppendVarint(b, o.Changed.UnixNano())
	return append(b, o.YAML...)
}

func decodeObject(key, payload []byte) (Object, error) {
	ref, err := parseKey(string(key))
	if err != nil {
		return Object{}, err
	}
	revision, n := binary.Uvarint(payload)
	if n <= 0 {
		return Object{}, errShort
	}
	payload = payload[n:]
	changed, n := binary.Varint(payload)
	if n <= 0 {
		return Object{}, errShort
	}
	return Object{
		Ref:      ref,
		YAML:     append([]byte(nil), payload[n:]...),
		Revision: revision,
		Changed:  time.Unix(0, changed),
	}, nil
}

// objectKey is "kind/namespace/name": none of the three holds a slash.
func objectKey(r model.Ref) string { return string(r.Kind) + "/" + r.Namespace + "/" + r.Name }

func parseKey(key string) (model.Ref, error) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return model.Ref{}, fmt.Errorf("key %.100q is not kind/namespace/name", key)
	}
	return model.Ref{Kind: model.Kind(parts[0]), Namespace: parts[1], Name: parts[2]}, nil
}
