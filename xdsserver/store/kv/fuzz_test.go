package kv

import (
	"bytes"
	"compress/gzip"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// zipped is what packs are made of.
func zipped(plain []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(plain) // to memory
	_ = w.Close()
	return b.Bytes()
}

// What Consul has may come from anybody who may write there. It is read or refused, and
// what was read can be folded, or is refused then.
func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"nonce":"N","at":"2026-01-01T00:00:00Z","by":"ann","changes":[{"kind":"Service","namespace":"default","name":"voting","yaml":"x"}]}`))
	f.Add([]byte(`{"format":1,"after":"ab","parts":{"id":"1-a","count":2,"digest":"` + digest(nil) + `"}}`))
	f.Add([]byte(`{"format":1,"changes":[{"kind":"a/b"},{}]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		_, _ = decodeRecord(plain) // what is not even packed
		r, err := decodeRecord(zipped(plain))
		if err != nil {
			return
		}
		v := &view{state: new(store.State)}
		next, err := v.fold(&entry{id: "x", index: 1, record: r, changes: fromRecord(r.Changes)})
		if err == nil && next.state.Revision() != 1 {
			t.Errorf("folded to revision %d", next.state.Revision())
		}
	})
}

func FuzzDecodeLatest(f *testing.F) {
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":1,"revision":200,"id":"ab","parts":{"count":3,"digest":"` + digest(nil) + `"}}`))
	f.Add([]byte(`{"format":1,"revision":1,"parts":{"count":99999999}}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		_, _ = decodeLatest(plain)
		if l, err := decodeLatest(zipped(plain)); err == nil && l.Parts != nil && (l.Parts.Count < 1 || l.Parts.Count > maxSnapshotParts) {
			t.Errorf("got %+v", l.Parts)
		}
	})
}

// A cache, and a snapshot in Consul, which is the same without its first line.
func FuzzDecodeCache(f *testing.F) {
	state, err := new(store.State).Apply(changes("voting", "v1", "web", "w1"), "ann", time.Unix(1, 2))
	if err != nil {
		f.Fatal(err)
	}
	good, err := encodeCache(&view{state: state, id: "ab"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte(`{"format":1,"revision":1,"id":"ab","objects":[{"kind":"Service","namespace":"default","name":"voting","yaml":"x","revision":1}]}`))
	f.Add(good[:len(good)/2], []byte(`{"format":1,"objects":[{},{}]}`))
	f.Fuzz(func(t *testing.T, cache, plain []byte) {
		for _, read := range []func() (*view, error){
			func() (*view, error) { return decodeCache(cache) },
			func() (*view, error) { return unpackView(zipped(plain)) },
		} {
			v, err := read()
			if err != nil {
				continue
			}
			again, err := encodeCache(v)
			if err != nil {
				t.Fatal(err)
			}
			w, err := decodeCache(again)
			if err != nil || w.id != v.id || w.state.Revision() != v.state.Revision() || len(w.state.Objects()) != len(v.state.Objects()) {
				t.Errorf("it does not come back: %v", err)
			}
		}
	})
}

func TestCacheComesBackAsItWas(t *testing.T) {
	state, err := new(store.State).Apply(changes("voting", "v1\n\u2028<&>", "web", "w1"), "ann", time.Unix(1, 2).UTC())
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeCache(&view{state: state, id: "ab"})
	if err != nil {
		t.Fatal(err)
	}
	for at := range data {
		bad := bytes.Clone(data)
		bad[at] ^= 4
		if _, err := decodeCache(bad); err == nil {
			t.Errorf("byte %d is wrong, and nobody sees it", at)
		}
	}
	v, err := decodeCache(data)
	if err != nil {
		t.Fatal(err)
	}
	got, want := v.state.Objects(), state.Objects()
	for i := range want {
		if got[i].Ref != want[i].Ref || !bytes.Equal(got[i].YAML, want[i].YAML) || !got[i].Changed.Equal(want[i].Changed) || got[i].Revision != want[i].Revision {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if v.live || v.id != "ab" || v.generation != 1 {
		t.Errorf("got %+v", v)
	}
}
