package xdsclient

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The disk cache is a header of headerSize bytes,
//
//	"tullexds"  8 bytes
//	format      4 bytes, big-endian
//	length      8 bytes, of the body, big-endian
//	checksum   32 bytes, SHA-256 of all other bytes of the file
//
// and a body: the service the cache belongs to, the number of entries, and of
// each its type URL, name, version, value, and when it was confirmed and used.
// Strings and bytes are preceded by their length, numbers are varints, times are
// seconds since 1970. Protobuf was not taken because its decoder skips what it
// does not know: here every byte is accounted for.
const (
	magic      = "tullexds"
	format     = 1
	headerSize = len(magic) + 4 + 8 + sha256.Size
	// maxFile bounds the file, in bytes: what a Client may hold.
	maxFile = maxHeld + maxMemory
	// leastEntry is the least size of an encoded entry.
	leastEntry = 6
)

// Why a disk cache is ignored.
var (
	errNotCache = errors.New("it is no disk cache of xDS resources")
	errTorn     = errors.New("it is truncated or damaged: its length or checksum is wrong")
	errTooLarge = fmt.Errorf("it is larger than %d MiB", maxFile>>20)
)

// encode writes the form of the file. Entries are sorted, so that the same
// content has the same bytes.
func encode(service string, entries []entry) []byte {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.typeURL, b.typeURL), cmp.Compare(a.name, b.name))
	})
	size := headerSize + len(service) + 16
	for i := range entries {
		size += entries[i].size()
	}
	b := make([]byte, headerSize, size)
	b = appendBytes(b, service)
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = appendBytes(b, e.typeURL)
		b = appendBytes(b, e.name)
		b = appendBytes(b, e.version)
		b = appendBytes(b, e.value)
		b = binary.AppendVarint(b, e.confirmed.Unix())
		b = binary.AppendVarint(b, e.used.Unix())
	}
	copy(b, magic)
	binary.BigEndian.PutUint32(b[8:], format)
	binary.BigEndian.PutUint64(b[12:], uint64(len(b)-headerSize))
	sum := checksum(b)
	copy(b[20:], sum[:])
	return b
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// checksum is over everything but itself.
func checksum(file []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(file[:20])
	h.Write(file[headerSize:])
	return [sha256.Size]byte(h.Sum(nil))
}

// decodeFile reads the form of the file, which may come from anywhere. The
// entries do not share its memory.
func decodeFile(file []byte, service string) ([]entry, error) {
	switch {
	case len(file) > maxFile:
		return nil, errTooLarge
	case len(file) < headerSize:
		return nil, errTorn
	case string(file[:8]) != magic:
		return nil, errNotCache
	}
	if v := binary.BigEndian.Uint32(file[8:]); v != format {
		return nil, fmt.Errorf("it has format %d, and this version of the library reads format %d", v, format)
	}
	sum := checksum(file)
	if binary.BigEndian.Uint64(file[12:]) != uint64(len(file)-headerSize) || !bytes.Equal(file[20:headerSize], sum[:]) {
		return nil, errTorn
	}
	r := &reader{rest: file[headerSize:]}
	if owner := string(r.bytes()); owner != service && !r.failed {
		return nil, fmt.Errorf("it belongs to service %q, this is %q: give each its own file", owner, service)
	}
	n := r.uvarint()
	if n > uint64(len(r.rest)/leastEntry) {
		return nil, errTorn
	}
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{
			key:       key{typeURL: string(r.bytes()), name: string(r.bytes())},
			version:   string(r.bytes()),
			value:     bytes.Clone(r.bytes()),
			confirmed: time.Unix(r.varint(), 0),
			used:      time.Unix(r.varint(), 0),
		}
	}
	if r.failed || len(r.rest) > 0 {
		return nil, errTorn
	}
	return entries, nil
}

// A reader takes values off the front of its bytes. After a failure all it
// returns is empty.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) advance(n int) {
	if n <= 0 {
		r.failed, r.rest = true, nil
		return
	}
	r.rest = r.rest[n:]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.advance(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.advance(n)
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	v := r.rest[:n]
	r.rest = r.rest[n:]
	return v
}
