package consul

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tokenPoll is how old what is known of the token's file may be.
	tokenPoll = time.Second
	// maxToken bounds the file; a token is a UUID.
	maxToken = 4 << 10
)

// tokens is the ACL token, from a file that may change.
type tokens struct {
	fixed  string
	file   string
	logger *slog.Logger

	changes atomic.Uint64

	mu     sync.Mutex
	looked time.Time
	token  string
	warned bool // that the file cannot be read any more
}

// current returns the token; an error only where none was ever read.
func (t *tokens) current() (string, error) {
	if t.file == "" {
		return t.fixed, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.token != "" && now.Sub(t.looked) < tokenPoll {
		return t.token, nil
	}
	t.looked = now
	token, err := readToken(t.file)
	switch {
	case err != nil && t.token == "":
		return "", err
	case err != nil:
		if !t.warned {
			t.logger.Warn("consul token not read again, the last one is used", "error", err)
		}
		t.warned = true
		return t.token, nil
	case t.token != "" && token != t.token:
		t.logger.Info("consul token was renewed", "file", t.file)
	}
	if token != t.token {
		t.changes.Add(1)
	}
	t.token, t.warned = token, false
	return token, nil
}

// readToken reads all of the file each time: one that is put in its place may be as long
// and as old as the one before.
func readToken(file string) (string, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return "", fmt.Errorf("consul: token: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("consul: token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxToken:
		return "", fmt.Errorf("consul: token: %s is longer than %d KiB: want one line of text", file, maxToken>>10)
	case token == "":
		return "", fmt.Errorf("consul: token: %s is empty", file)
	case !printable(token):
		return "", fmt.Errorf("consul: token: %s holds no token: want one line of text", file)
	}
	return token, nil
}

// printable reports whether a token can be sent as one.
func printable(token string) bool {
	return !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// TokenChanges counts how often the token was another than before.
func (c *Client) TokenChanges() uint64 { return c.tokens.changes.Load() }
