package kv

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

const (
	// format is the layout of everything here. It grows when an older xdsserver could
	// misread what a newer one wrote.
	format = 1
	// maxPart is what one key holds, in bytes. A transaction takes 512 KiB of JSON, where
	// a value is base64 and a third longer; the rest is for the other parts of it.
	maxPart = 350 << 10
	// maxParts bounds one change to 16 MiB, packed: each of its parts is a condition of
	// the transaction, of which Consul takes 64. maxUnpacked bounds what it unpacks to.
	maxParts    = 48
	maxUnpacked = 64 << 20
	// maxBy bounds who made a change, in bytes.
	maxBy = 200
)

// A record is one revision as it is stored. Unknown fields are ignored: they are a newer
// xdsserver's.
type record struct {
	Format int `json:"format"`
	// After is the id of the record before this; empty in the first.
	After string `json:"after,omitempty"`
	// Nonce makes the record one of its kind: who wrote it knows it again.
	Nonce string    `json:"nonce"`
	At    time.Time `json:"at"`
	By    string    `json:"by,omitempty"`
	// Changes are here, or in Parts.
	Changes []change `json:"changes,omitempty"`
	Parts   *parts   `json:"parts,omitempty"`
}

// A change is one object written, or removed where YAML is missing.
type change struct {
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	YAML      *string `json:"yaml,omitempty"`
}

// parts say where something is that one value cannot hold.
type parts struct {
	// ID is that of the folder of a change; empty of a snapshot.
	ID    string `json:"id,omitempty"`
	Count int    `json:"count"`
	// Digest is the SHA-256 of all parts together, in hexadecimal.
	Digest string `json:"digest"`
}

// id is what the next record names this one by.
func id(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:16])
}

func digest(packed []byte) string {
	sum := sha256.Sum256(packed)
	return hex.EncodeToString(sum[:])
}

func toRecord(changes []store.Change) []change {
	out := make([]change, len(changes))
	for i, c := range changes {
		out[i] = change{Kind: string(c.Ref.Kind), Namespace: c.Ref.Namespace, Name: c.Ref.Name}
		if c.YAML != nil {
			out[i].YAML = new(string(c.YAML))
		}
	}
	return out
}

func fromRecord(changes []change) []store.Change {
	out := make([]store.Change, len(changes))
	for i, c := range changes {
		out[i].Ref = model.Ref{Kind: model.Kind(c.Kind), Namespace: c.Namespace, Name: c.Name}
		if c.YAML != nil {
			out[i].YAML = []byte(*c.YAML)
		}
	}
	return out
}

func decodeRecord(value []byte) (*record, error) {
	r := new(record)
	if err := unpack(value, r, maxUnpacked); err != nil {
		return nil, err
	}
	switch {
	case r.Format != format:
		return nil, formatError(r.Format)
	case (len(r.Changes) == 0) == (r.Parts == nil):
		return nil, errors.New("it holds no changes, or holds them twice")
	case r.Parts != nil && (r.Parts.ID == "" || !r.Parts.sound(maxParts)):
		return nil, errors.New("its parts cannot be")
	}
	return r, nil
}

func (p *parts) sound(most int) bool {
	return p.Count >= 1 && p.Count <= most && len(p.Digest) == hex.EncodedLen(sha256.Size)
}

func decodeChanges(packed []byte) ([]change, error) {
	var changes []change
	if err := unpack(packed, &changes, maxUnpacked); err != nil {
		return nil, err
	}
	return changes, nil
}

type formatError int

func (e formatError) Error() string {
	return fmt.Sprintf("it has format %d, this xdsserver reads %d: run the version that wrote it", int(e), format)
}

// pack is JSON, compressed: manifests are one like the other.
func pack(v any, most int) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(plain) > most {
		return nil, tooLarge(len(plain), most)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func tooLarge(size, most int) error {
	return fmt.Errorf("%d MiB are too much at a time, %d are the most: apply it in several steps", size>>20, most>>20)
}

func unpack(packed []byte, v any, most int) error {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err != nil {
		return err
	}
	if len(plain) > most {
		return fmt.Errorf("it unpacks to more than %d MiB", most>>20)
	}
	return json.Unmarshal(plain, v)
}

// split cuts what one value cannot hold.
func split(packed []byte) [][]byte {
	var out [][]byte
	for len(packed) > maxPart {
		out, packed = append(out, packed[:maxPart]), packed[maxPart:]
	}
	return append(out, packed)
}
