package resource

import "math/bits"

// HashKey returns the hash by which [RingHash] finds the endpoint of a key: XXH64
// with seed 0, as gRFC A42 asks of keys and of entries of the ring alike, so that
// every gRPC client of a service sends a key to the same endpoint.
//
// It is pure, and does not allocate.
func HashKey(key string) uint64 {
	n, h := uint64(len(key)), xxPrime5
	if n >= 32 {
		p1, p2 := xxPrime1, xxPrime2 // variables: the sums wrap round
		lanes := [4]uint64{p1 + p2, p2, 0, -p1}
		for ; len(key) >= 32; key = key[32:] {
			for i := range lanes {
				lanes[i] = xxRound(lanes[i], word64(key[8*i:]))
			}
		}
		h = bits.RotateLeft64(lanes[0], 1) + bits.RotateLeft64(lanes[1], 7) +
			bits.RotateLeft64(lanes[2], 12) + bits.RotateLeft64(lanes[3], 18)
		for _, lane := range lanes {
			h = (h^xxRound(0, lane))*xxPrime1 + xxPrime4
		}
	}
	h += n
	for ; len(key) >= 8; key = key[8:] {
		h = bits.RotateLeft64(h^xxRound(0, word64(key)), 27)*xxPrime1 + xxPrime4
	}
	if len(key) >= 4 {
		h = bits.RotateLeft64(h^word32(key)*xxPrime1, 23)*xxPrime2 + xxPrime3
		key = key[4:]
	}
	for i := range len(key) {
		h = bits.RotateLeft64(h^uint64(key[i])*xxPrime5, 11) * xxPrime1
	}
	h = (h ^ h>>33) * xxPrime2
	h = (h ^ h>>29) * xxPrime3
	return h ^ h>>32
}

// The primes of XXH64 (xxHash fast digest algorithm, version 0.1.1, section "XXH64").
const (
	xxPrime1 uint64 = 0x9E3779B185EBCA87
	xxPrime2 uint64 = 0xC2B2AE3D27D4EB4F
	xxPrime3 uint64 = 0x165667B19E3779F9
	xxPrime4 uint64 = 0x85EBCA77C2B2AE63
	xxPrime5 uint64 = 0x27D4EB2F165667C5
)

func xxRound(lane, input uint64) uint64 {
	return bits.RotateLeft64(lane+input*xxPrime2, 31) * xxPrime1
}

// word64 and word32 read little endian; the compiler makes one load of each.
func word64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func word32(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
