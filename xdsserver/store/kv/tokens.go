package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

const (
	// maxTokens bounds the tokens that are kept; some more where several xdsservers
	// create the last ones at the same moment. maxToken bounds one record, in bytes.
	maxTokens = 10_000
	maxToken  = maxPart
	// tokenWithin bounds an update, with those that come before it.
	tokenWithin = 30 * time.Second
)

// tokenID is base64url, up to 64 characters, and so a part of a key as it is.
var tokenID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Tokens returns the records of all join tokens by id, as Consul has them now.
func (s *Store) Tokens() (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenWithin)
	defer cancel()
	pairs, err := s.client.List(ctx, tokensBelow)
	if err != nil {
		return nil, fmt.Errorf("store: tokens: %w", err)
	}
	tokens := make(map[string][]byte, len(pairs))
	for _, p := range pairs {
		tokens[strings.TrimPrefix(p.Key, tokensBelow)] = p.Value
	}
	return tokens, nil
}

// UpdateToken replaces the record of one token by what change makes of it: nil where
// there is none, and nil to remove it. It is one step of all xdsservers' steps: change is
// called again with the newer record where another was faster, and must decide by its
// argument alone. When it returns nil, Consul has what change returned, also when it had
// that before. An error of change is returned as it is. After any other error the change
// may be there or not, and a repetition decides.
func (s *Store) UpdateToken(id string, change func(old []byte) ([]byte, error)) error {
	if !tokenID.MatchString(id) {
		return fmt.Errorf("store: token id %.80q: want 1 to 64 letters, digits, - and _", id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), tokenWithin)
	defer cancel()
	for failures := 1; ; failures++ {
		err := s.updateToken(ctx, id, change)
		if !errors.Is(err, consul.ErrConflict) {
			return err
		}
		if !sleep(ctx, backoff(min(failures, 3))) {
			return fmt.Errorf("store: token %s: %w", id, err)
		}
	}
}

// updateToken is one attempt.
func (s *Store) updateToken(ctx context.Context, id string, change func(old []byte) ([]byte, error)) error {
	key := tokensBelow + id
	pair, known, err := s.client.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("store: token %s: %w", id, err)
	}
	record, err := change(pair.Value)
	switch {
	case err != nil:
		return err
	case record == nil && !known, record != nil && known && bytes.Equal(record, pair.Value):
		return nil
	case len(record) > maxToken:
		return fmt.Errorf("store: token %s: record of %d bytes, %d are the most", id, len(record), maxToken)
	case record == nil:
		err = s.client.Delete(ctx, key, pair.Index)
	default:
		if !known {
			if err := s.roomForToken(ctx); err != nil {
				return err
			}
		}
		_, err = s.client.Put(ctx, key, record, pair.Index)
	}
	if err != nil {
		err = fmt.Errorf("store: token %s: %w", id, err)
	}
	if !errors.Is(err, consul.ErrConflict) {
		s.wrote(err)
	}
	return err
}

func (s *Store) roomForToken(ctx context.Context) error {
	q, cancel := s.client.Query(ctx)
	defer cancel()
	keys, _, err := s.client.API().KV().Keys(s.client.Key(tokensBelow), "", q)
	if err != nil {
		return fmt.Errorf("store: tokens: %w", s.client.Explain("keys below "+s.client.Key(tokensBelow), err))
	}
	if len(keys) >= maxTokens {
		return fmt.Errorf("store: %d tokens are kept, which is the most: revoke some, or let them expire", len(keys))
	}
	return nil
}
