package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
)

// write runs one transaction and returns when it is on disk.
func (s *Store) write(change func(*bbolt.Tx) error) (err error) {
	defer func() { s.wrote(err) }()
	db, err := s.writer()
	if err != nil {
		return err
	}
	if err := s.update(db, change); err != nil {
		s.discard(err)
		return fmt.Errorf("store: write %s: %w", s.path(mainFile), err)
	}
	return nil
}

func (s *Store) update(db *bbolt.DB, change func(*bbolt.Tx) error) error {
	return guard(func() error {
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		if err := change(tx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return s.commit(tx)
	})
}

// writer returns the open database. Without one it writes the contents to a new
// file, puts it in place of the old, and keeps that open.
func (s *Store) writer() (*bbolt.DB, error) {
	if s.db != nil {
		return s.db, nil
	}
	db, err := s.writeFile(s.path(mainFile))
	if err != nil {
		return nil, fmt.Errorf("store: write %s: %w", s.path(mainFile), err)
	}
	s.db = db
	return db, nil
}

// discard lets go of a database after a failed write: what the kernel holds of
// its pages is not known any more (after a failed fsync it may show data that the
// disk never got), so the next write starts a new file.
func (s *Store) discard(cause error) {
	if _, faulted := errors.AsType[*faultError](cause); !faulted {
		// After a fault in the middle of a transaction bbolt's locks are held for
		// ever, and Close would wait for them: that descriptor is left to the process.
		_ = guard(s.db.Close)
	}
	s.db = nil
}

// writeCopy writes the contents to the copy. A failure costs no applied object,
// so it is a warning.
func (s *Store) writeCopy() {
	if err := s.tryCopy(); err != nil {
		s.logger.Warn("copy of the database not written; the next apply tries again", "file", s.path(copyFile), "error", err)
	}
}

func (s *Store) tryCopy() error {
	db, err := s.writeFile(s.path(copyFile))
	if err != nil {
		return err
	}
	s.copied = true
	return guard(db.Close)
}

// writeFile writes the contents to a new database, fsyncs it, renames it to path
// and returns it open. On failure path is as it was.
func (s *Store) writeFile(path string) (*bbolt.DB, error) {
	fresh := path + newSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var db *bbolt.DB
	err := guard(func() error {
		var err error
		db, err = bbolt.Open(fresh, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
		return err
	})
	if err == nil {
		if err = s.update(db, func(tx *bbolt.Tx) error { return putAll(tx, s.held) }); err == nil {
			if err = os.Rename(fresh, path); err == nil {
				err = syncDir(filepath.Dir(path))
			}
		}
	}
	if err == nil {
		return db, nil
	}
	if _, faulted := errors.AsType[*faultError](err); db != nil && !faulted {
		_ = guard(db.Close)
	}
	_ = os.Remove(fresh) // it may take the space that is missing
	return nil, err
}

// putAll fills an empty database.
func putAll(tx *bbolt.Tx, c contents) error {
	for _, name := range [][]byte{metaBucket, objectsBucket, historyBucket, endpointsBucket, tokensBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	if err := putObjects(tx, new(State), c); err != nil {
		return err
	}
	if err := putHistory(tx, nil, c.state.history); err != nil {
		return err
	}
	if err := putRecords(tx.Bucket(tokensBucket), nil, c.tokens); err != nil {
		return err
	}
	return putRecords(tx.Bucket(endpointsBucket), nil, c.endpoints)
}

// putObjects writes what differs between the objects on disk and next, and the
// state record.
func putObjects(tx *bbolt.Tx, onDisk *State, next contents) error {
	bucket := tx.Bucket(objectsBucket)
	for i, key := range next.state.keys {
		o := next.state.objects[i]
		if old, ok := onDisk.object(key); ok && old.Revision == o.Revision {
			continue
		}
		if err := bucket.Put([]byte(key), seal([]byte(key), encodeObject(o))); err != nil {
			return err
		}
	}
	for _, key := range onDisk.keys {
		if _, ok := next.state.object(key); ok {
			continue
		}
		if err := bucket.Delete([]byte(key)); err != nil {
			return err
		}
	}
	return putState(tx, next)
}

// putState writes the state record.
func putState(tx *bbolt.Tx, c contents) error {
	payload, err := json.Marshal(stateRecord{
		Schema:      schema,
		Revision:    c.state.revision,
		Objects:     len(c.state.objects),
		Digest:      digest(c.state),
		TokenChange: c.tokenChange,
		TokenDigest: tokenDigest(c.tokens),
	})
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(stateKey, seal(stateKey, payload))
}

// putRecords writes what differs between the records on disk and next.
func putRecords(bucket *bbolt.Bucket, onDisk, next map[string][]byte) error {
	for _, key := range slices.Sorted(maps.Keys(next)) {
		if slices.Equal(onDisk[key], next[key]) {
			continue
		}
		if err := bucket.Put([]byte(key), seal([]byte(key), next[key])); err != nil {
			return err
		}
	}
	for key := range onDisk {
		if _, ok := next[key]; ok {
			continue
		}
		if err := bucket.Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
