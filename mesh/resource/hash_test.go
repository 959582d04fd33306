package resource_test

import (
	"strings"
	"testing"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// The values are github.com/cespare/xxhash/v2's, which grpc-go hashes by.
func TestHashKeyIsTheXXH64OfGRPC(t *testing.T) {
	for _, tt := range []struct {
		name, key string
		want      uint64
	}{
		{"of nothing", "", 0xef46db3751d8e999},
		{"of a byte", "a", 0xd24ec4f1a98c6e5b},
		{"of bytes", "abc", 0x44bc2cf5ad770999},
		{"of a word and bytes", "user-7", 0x216dec03713b4cfd},
		{"of one block", "0123456789abcdef0123456789abcdef", 0x642a94958e71e6c5},
		{"of blocks and a rest", strings.Repeat("xxhash", 50), 0xc3bcde05f7fe711f},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := resource.HashKey(tt.key); got != tt.want {
				t.Errorf("got %#x, want %#x", got, tt.want)
			}
		})
	}
}

func TestHashKeyDoesNotAllocate(t *testing.T) {
	key := strings.Repeat("user-7", 20)
	if got := testing.AllocsPerRun(100, func() { resource.HashKey(key) }); got != 0 {
		t.Errorf("it costs %v allocations", got)
	}
}

func BenchmarkHashKey(b *testing.B) {
	for name, key := range map[string]string{"8 bytes": "user-007", "64 bytes": strings.Repeat("user-007", 8)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resource.HashKey(key)
			}
		})
	}
}
