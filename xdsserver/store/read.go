package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// schema is the version of the database's layout. It grows when an older
// xdsserver could misread a newer one's database.
const schema = 1

// lockWait bounds the wait for bbolt's own lock, which only a foreign tool holds:
// our processes meet at tulle.lock before.
const lockWait = 200 * time.Millisecond

var (
	metaBucket      = []byte("meta")
	objectsBucket   = []byte("objects")
	endpointsBucket = []byte("endpoints")
	tokensBucket    = []byte("tokens")
	stateKey        = []byte("state")
)

// stateRecord is the one record of the meta bucket. Objects and Digest cover all
// object records together: a lost page loses whole records, which no checksum of
// the others shows.
type stateRecord struct {
	Schema   int    `json:"schema"`
	Revision uint64 `json:"revision"`
	Objects  int    `json:"objects"`
	Digest   uint64 `json:"digest"`
	// TokenChange counts changes of tokens, TokenDigest covers them all.
	TokenChange uint64 `json:"tokenChange,omitempty"`
	TokenDigest uint64 `json:"tokenDigest,omitempty"`
}

// A damageError is a file that is there and cannot be believed.
type damageError struct {
	path  string
	cause error
}

func (e *damageError) Error() string { return fmt.Sprintf("%s: %v", e.path, e.cause) }
func (e *damageError) Unwrap() error { return e.cause }

// A faultError is a panic, or an access to mapped memory that has no file behind
// it any more, turned into an error.
type faultError struct{ cause any }

func (e *faultError) Error() string { return fmt.Sprintf("unreadable page: %v", e.cause) }

// guard runs f, which uses bbolt, and returns its panics as errors. bbolt trusts
// the pages it maps: on damaged ones it panics or reads past the end of the file,
// which without SetPanicOnFault ends the process.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &faultError{cause: p}
		}
	}()
	return f()
}

// read returns everything in the database at path. An error that wraps
// fs.ErrNotExist means there is none, a *damageError that it cannot be believed,
// any other that it could not be tried.
func read(path string) (contents, int, error) {
	info, err := os.Stat(path)
	if err != nil {
		return contents{}, 0, fmt.Errorf("store: %w", err)
	}
	if info.Size() == 0 {
		// What a crash leaves between creating the file and writing to it.
		return contents{}, 0, fmt.Errorf("store: %s is empty: %w", path, fs.ErrNotExist)
	}
	var (
		db   *bbolt.DB
		c    contents
		lost int
	)
	err = guard(func() error {
		// Read-only, bbolt neither writes to a foreign database nor trusts a free list.
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
		if err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) error {
			if tx.Size() > info.Size() {
				return fmt.Errorf("is truncated: %d of %d bytes are left", info.Size(), tx.Size())
			}
			c, lost, err = readAll(tx)
			return err
		})
	})
	if db != nil {
		err = errors.Join(err, guard(db.Close))
	}
	_, newer := errors.AsType[*schemaError](err)
	_, access := errors.AsType[*fs.PathError](err)
	switch {
	case err == nil:
		return c, lost, nil
	case errors.Is(err, berrors.ErrTimeout):
		return contents{}, 0, fmt.Errorf("store: %s is locked by another program: stop it and try again", path)
	case newer, access:
		return contents{}, 0, fmt.Errorf("store: %s: %w", path, err)
	}
	return contents{}, 0, &damageError{path: path, cause: err}
}

// readAll returns the contents, and how many endpoint records it had to leave
// out: endpoints register themselves again, so a damaged one is no reason to stop.
func readAll(tx *bbolt.Tx) (contents, int, error) {
	meta, objects, endpoints := tx.Bucket(metaBucket), tx.Bucket(objectsBucket), tx.Bucket(endpointsBucket)
	if meta == nil || objects == nil || endpoints == nil {
		return contents{}, 0, errors.New("is no database of xdsserver")
	}
	payload, err := unseal(stateKey, meta.Get(stateKey))
	if err != nil {
		return contents{}, 0, fmt.Errorf("state: %w", err)
	}
	var st stateRecord
	if err := json.Unmarshal(payload, &st); err != nil {
		return contents{}, 0, fmt.Errorf("state: %w", err)
	}
	if st.Schema != schema {
		return contents{}, 0, &schemaError{have: st.Schema}
	}
	c := contents{endpoints: make(map[string][]byte), tokenChange: st.TokenChange}
	all := make([]Object, 0, max(0, min(st.Objects, 1<<16))) // what the record says may be damaged
	err = objects.ForEach(func(key, record []byte) error {
		payload, err := unseal(key, record)
		if err != nil {
			return fmt.Errorf("object %.100q: %w", key, err)
		}
		o, err := decodeObject(key, payload)
		if err != nil {
			return fmt.Errorf("object %.100q: %w", key, err)
		}
		all = append(all, o)
		return nil
	})
	if err != nil {
		return contents{}, 0, err
	}
	if c.state, err = NewState(st.Revision, all); err != nil {
		return contents{}, 0, fmt.Errorf("objects: %w", err)
	}
	if len(all) != st.Objects || digest(c.state) != st.Digest {
		return contents{}, 0, fmt.Errorf("objects do not add up: %d of %d are left", len(all), st.Objects)
	}
	if c.tokens, err = readTokens(tx, st.TokenDigest); err != nil {
		return contents{}, 0, err
	}
	c.state.history, c.historyWhole = readHistory(tx, st.Revision)
	lost := 0
	err = guard(func() error {
		return endpoints.ForEach(func(key, record []byte) error {
			if payload, err := unseal(key, record); err == nil {
				c.endpoints[string(key)] = slices.Clone(payload)
			} else {
				lost++
			}
			return nil
		})
	})
	if err != nil {
		lost++
	}
	return c, lost, nil
}

// digest covers every object, whatever the order they were written in.
func digest(s *State) uint64 {
	h := sha256.New()
	for i, key := range s.keys {
		record := encodeObject(s.objects[i])
		var sizes [8]byte
		binary.BigEndian.PutUint32(sizes[:4], uint32(len(key)))
		binary.BigEndian.PutUint32(sizes[4:], uint32(len(record)))
		h.Write(sizes[:])
		h.Write([]byte(key))
		h.Write(record)
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// A schemaError is a database of another schema: sound, and not to be touched.
type schemaError struct{ have int }

func (e *schemaError) Error() string {
	return fmt.Sprintf("has schema %d, this xdsserver knows %d: run the version that wrote it", e.have, schema)
}
