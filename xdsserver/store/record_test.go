package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordIsOnlyValidUnderItsKey(t *testing.T) {
	record := seal([]byte("a"), []byte("payload"))
	if _, err := unseal([]byte("a"), record); err != nil {
		t.Errorf("under its key: %v", err)
	}
	if _, err := unseal([]byte("b"), record); err == nil {
		t.Error("under another key: no error")
	}
	for i := range record {
		flipped := bytes.Clone(record)
		flipped[i] ^= 0x40
		if _, err := unseal([]byte("a"), flipped); err == nil {
			t.Errorf("byte %d flipped: no error", i)
		}
	}
	for n := range record {
		if _, err := unseal([]byte("a"), record[:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
}

func FuzzDecodeObject(f *testing.F) {
	good := Object{Ref: service("voting"), YAML: []byte("kind: Service\n"), Revision: 300, Changed: time.Unix(1, 2)}
	f.Add([]byte("Service/default/voting"), seal([]byte(objectKey(good.Ref)), encodeObject(good)))
	f.Add([]byte("Service//voting"), []byte{1, 0, 0, 0, 0})
	f.Add([]byte(""), []byte{})
	f.Fuzz(func(t *testing.T, key, record []byte) {
		payload, err := unseal(key, record)
		if err != nil {
			// What a checksum does not protect must not harm either.
			payload = record
		}
		o, err := decodeObject(key, payload)
		if err != nil {
			return
		}
		again, err := decodeObject([]byte(objectKey(o.Ref)), encodeObject(o))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o, again); diff != "" {
			t.Errorf("(-decoded +again):\n%s", diff)
		}
	})
}

func FuzzDecodeEndpoint(f *testing.F) {
	good, err := encodeEndpoint(endpoint("voting", "a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"service":"a","namespace":"b","instance":"c","addresses":["x"],"health":200}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := decodeEndpoint(payload)
		if err != nil {
			return
		}
		if _, err := encodeEndpoint(e); err != nil {
			t.Error(err)
		}
	})
}
