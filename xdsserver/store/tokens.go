package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

const (
	// maxTokens bounds the tokens that are kept, maxTokenSize one record, maxTokenID
	// an id; in bytes, the last two.
	maxTokens    = 10_000
	maxTokenSize = 1 << 20
	maxTokenID   = 64
)

// Tokens returns the records of all join tokens by id. The records are shared: do
// not change them.
func (s *Store) Tokens() (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.held.tokens), nil
}

// UpdateToken replaces the record of one token by what change makes of it: nil where
// there is none, and nil to remove it. When it returns nil, what change returned is on
// disk twice, in the database and in its copy, also when that was there before: what
// is used up stays used up, whichever of the two is damaged next. An error of change
// is returned as it is. After any other error the change may be there or not, and a
// repetition decides. It calls change once, and nobody else's meanwhile.
func (s *Store) UpdateToken(id string, change func(old []byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if id == "" || len(id) > maxTokenID {
		return fmt.Errorf("store: token id of %d bytes, want 1 to %d", len(id), maxTokenID)
	}
	old, known := s.held.tokens[id]
	record, err := change(old)
	switch {
	case err != nil:
		return err
	case record == nil && !known, record != nil && known && slices.Equal(record, old):
		// Written earlier, but perhaps by a call that was cut short before its copy.
		return s.copyTokens()
	case len(record) > maxTokenSize:
		return fmt.Errorf("store: token %s: record of %d bytes, %d are the most", id, len(record), maxTokenSize)
	case !known && len(s.held.tokens) >= maxTokens:
		return fmt.Errorf("store: %d tokens are kept, which is the most: revoke some, or let them expire", maxTokens)
	}
	next := s.held
	next.tokenChange++
	if next.tokens = maps.Clone(s.held.tokens); next.tokens == nil {
		next.tokens = make(map[string][]byte)
	}
	if record == nil {
		delete(next.tokens, id)
	} else {
		next.tokens[id] = slices.Clone(record)
	}
	err = s.write(func(tx *bbolt.Tx) error {
		return errors.Join(putRecords(tx.Bucket(tokensBucket), s.held.tokens, next.tokens), putState(tx, next))
	})
	if err != nil {
		return err
	}
	s.held, s.copied = next, false
	return s.copyTokens()
}

// copyTokens writes the copy, unless it has every change of tokens.
func (s *Store) copyTokens() error {
	if s.copied {
		return nil
	}
	if err := s.tryCopy(); err != nil {
		return fmt.Errorf("store: write %s: %w", s.path(copyFile), err)
	}
	return nil
}

// readTokens reads the tokens of a database; an older xdsserver's has none. Tokens
// that do not add up are damage, like objects: one that is back as it was before it
// was used must not be believed.
func readTokens(tx *bbolt.Tx, digest uint64) (map[string][]byte, error) {
	tokens := make(map[string][]byte)
	if bucket := tx.Bucket(tokensBucket); bucket != nil {
		err := bucket.ForEach(func(key, record []byte) error {
			payload, err := unseal(key, record)
			if err != nil {
				return fmt.Errorf("token %.100q: %w", key, err)
			}
			tokens[string(key)] = slices.Clone(payload)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if tokenDigest(tokens) != digest {
		return nil, errors.New("tokens do not add up")
	}
	return tokens, nil
}

// tokenDigest covers all tokens; zero is none.
func tokenDigest(tokens map[string][]byte) uint64 {
	if len(tokens) == 0 {
		return 0
	}
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(tokens)) {
		var sizes [8]byte
		binary.BigEndian.PutUint32(sizes[:4], uint32(len(id)))
		binary.BigEndian.PutUint32(sizes[4:], uint32(len(tokens[id])))
		h.Write(sizes[:])
		h.Write([]byte(id))
		h.Write(tokens[id])
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
