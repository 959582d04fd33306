package xdsclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCacheThatCannotBeUsedIsIgnoredWithOneWarning(t *testing.T) {
	n := newNetwork()
	good := encode("web", []entry{
		{key: key{typeA, "one"}, version: "v1", value: []byte("one=1"), confirmed: time.Unix(1e9, 0), used: time.Unix(1e9, 0)},
	})
	edit := func(change func(b []byte) []byte) []byte { return change(bytes.Clone(good)) }
	resum := func(b []byte) []byte {
		binary.BigEndian.PutUint64(b[12:], uint64(len(b)-headerSize))
		sum := checksum(b)
		copy(b[20:], sum[:])
		return b
	}
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"an empty file", nil, "truncated or damaged"},
		{"a file that ends in the header", good[:headerSize-1], "truncated or damaged"},
		{"a file that ends in the body", good[:len(good)-1], "truncated or damaged"},
		{"a file with bytes after the end", append(bytes.Clone(good), 0), "truncated or damaged"},
		{"a flipped bit in the body", edit(func(b []byte) []byte { b[len(b)-3] ^= 4; return b }), "truncated or damaged"},
		{"a flipped bit in the checksum", edit(func(b []byte) []byte { b[30] ^= 4; return b }), "truncated or damaged"},
		{"a file of something else", bytes.Repeat([]byte("#!/bin/sh\n"), 20), "no disk cache"},
		{"a format of the future", edit(func(b []byte) []byte { b[11] = 2; return b }), "format 2, and this version of the library reads format 1"},
		{"a cache of another service", encode("voting", nil), `belongs to service \"voting\", this is \"web\"`},
		{"a count beyond the file", resum(append(append(bytes.Clone(good[:headerSize]), 3, 'w', 'e', 'b'),
			binary.AppendUvarint(nil, math.MaxUint64)...)), "truncated or damaged"},
		{"a length beyond the file", resum(append(append(bytes.Clone(good[:headerSize]), 3, 'w', 'e', 'b', 1),
			0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0)), "truncated or damaged"},
		{"an entry too few", resum(edit(func(b []byte) []byte { b[headerSize+4] = 2; return b })), "truncated or damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(n, "a")
			cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
			if err := os.WriteFile(cfg.CacheFile, test.file, 0o600); err != nil {
				t.Fatal(err)
			}
			h := newClient(t, cfg)
			h.log.wantCount(t, "level=WARN", 1)
			h.log.wantCount(t, "disk cache ignored", 1)
			h.log.wantCount(t, test.want, 1)
			if len(h.memory) != 0 {
				t.Errorf("%d resources were taken from it", len(h.memory))
			}
		})
	}
	t.Run("a file that is too large", func(t *testing.T) {
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		if err := errors.Join(os.WriteFile(cfg.CacheFile, good, 0o600), os.Truncate(cfg.CacheFile, maxFile+1)); err != nil {
			t.Fatal(err)
		}
		newClient(t, cfg).log.wantCount(t, "larger than 320 MiB", 1)
	})
	t.Run("a folder", func(t *testing.T) {
		cfg := config(n, "a")
		cfg.CacheFile = t.TempDir()
		newClient(t, cfg).log.wantCount(t, "not a regular file", 1)
	})
	t.Run("a file that others may write", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("Windows has no such modes")
		}
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		if err := errors.Join(os.WriteFile(cfg.CacheFile, good, 0o600), os.Chmod(cfg.CacheFile, 0o620)); err != nil {
			t.Fatal(err)
		}
		newClient(t, cfg).log.wantCount(t, "others may write it (mode 0620): chmod 600", 1)
	})
	t.Run("a resource the decoder no longer takes", func(t *testing.T) {
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		file := encode("web", []entry{{key: key{typeA, "one"}, value: []byte("one=panic")}})
		if err := os.WriteFile(cfg.CacheFile, file, 0o600); err != nil {
			t.Fatal(err)
		}
		h := newClient(t, cfg)
		h.watch(typeA, "one").want(t, "nothing unknown")
		h.watch(typeA, "one").want(t, "nothing unknown")
		h.log.wantCount(t, "remembered resource ignored", 1)
	})
	t.Run("a file that is not there is no warning", func(t *testing.T) {
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		newClient(t, cfg).log.wantCount(t, "level=WARN", 0)
	})
}

func FuzzDecodeFile(f *testing.F) {
	when := time.Unix(1e9, 0)
	entries := []entry{
		{key: key{typeA, "one"}, version: "v1", value: []byte("one=1"), confirmed: when, used: when.Add(time.Hour)},
		{key: key{typeB, ""}, value: nil, confirmed: time.Unix(-1, 0), used: time.Unix(0, 0)},
	}
	f.Add(encode("web", entries)[headerSize:])
	f.Add(encode("web", nil)[headerSize:])
	f.Add(encode("", entries[:1])[headerSize:])
	f.Add([]byte{3, 'w', 'e', 'b', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		// As it is: nearly always a broken header.
		_, _ = decodeFile(body, "web")
		// Under a header that is right, so that the body is reached.
		file := append([]byte(magic), 0, 0, 0, format)
		file = binary.BigEndian.AppendUint64(file, uint64(len(body)))
		file = append(append(file, make([]byte, headerSize-len(file))...), body...)
		sum := checksum(file)
		copy(file[20:], sum[:])
		got, err := decodeFile(file, "web")
		if err != nil {
			return
		}
		again, err := decodeFile(encode("web", got), "web")
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if diff := cmp.Diff(got, again, cmp.AllowUnexported(entry{}, key{})); diff != "" {
			t.Errorf("the second reading differs (-first +second):\n%s", diff)
		}
	})
}
