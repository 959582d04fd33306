package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// secretSize is that of the secrets of logins and sessions, in bytes.
const secretSize = 32

// A secret is drawn at random. Only its hash is kept, so that what is in memory lets
// nobody in.
type secret [secretSize]byte

func newSecret() secret {
	var s secret
	_, _ = rand.Read(s[:]) // never fails: crypto/rand ends the process first
	return s
}

// reveal is the secret as URLs and cookies carry it.
func (s secret) reveal() string { return base64.RawURLEncoding.EncodeToString(s[:]) }

// String hides the secret.
func (s secret) String() string { return "(secret)" }

// A hash stands for a secret.
type hash [sha256.Size]byte

func (s secret) hash() hash { return sha256.Sum256(s[:]) }

// parseSecret reads what reveal wrote.
func parseSecret(text string) (secret, bool) {
	var s secret
	if len(text) != base64.RawURLEncoding.EncodedLen(secretSize) {
		return s, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(s[:], []byte(text))
	return s, err == nil && n == secretSize
}

// A login lets somebody in, once.
type login struct {
	hash    hash
	expires time.Time
	// name is how the session is called; nothing secret.
	name    string
	may     []admin.Right
	session time.Duration
}

// logins are those that nobody has used yet, the oldest first.
type logins struct {
	mu      sync.Mutex
	waiting []login
}

// create makes one of a request.
func (l *logins) create(r admin.LoginRequest, now time.Time) (secret, login) {
	s := newSecret()
	id := newSecret() // a name of its own, that tells nothing of the secret
	made := login{
		hash: s.hash(), expires: now.Add(loginWithin), name: "dashboard " + hex.EncodeToString(id[:3]), may: slices.Clone(r.May), session: r.Session,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w login) bool { return !now.Before(w.expires) })
	if len(l.waiting) >= maxLogins {
		l.waiting = slices.Delete(l.waiting, 0, 1)
	}
	l.waiting = append(l.waiting, made)
	return s, made
}

// redeem uses up the login of a token. It looks at all of them, whichever it is, so
// that the time it takes tells nothing.
func (l *logins) redeem(token string, now time.Time) (login, bool) {
	s, ok := parseSecret(token)
	if !ok {
		return login{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	found, given := -1, s.hash()
	for i := range l.waiting {
		if subtle.ConstantTimeCompare(l.waiting[i].hash[:], given[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return login{}, false
	}
	w := l.waiting[found]
	l.waiting = slices.Delete(l.waiting, found, found+1)
	return w, now.Before(w.expires)
}

// CreateLogin makes an address that opens the dashboard once, within five minutes. It is
// on the audit log before anybody has it.
func (s *Server) CreateLogin(r admin.LoginRequest) (admin.Login, error) {
	token, made := s.logins.create(r, time.Now())
	if err := s.config.Audit("login.created", fmt.Sprintf("%s for %s: may %s for %v", made.name, r.By, words(r.May), r.Session)); err != nil {
		s.logins.redeem(token.reveal(), time.Now())
		return admin.Login{}, fmt.Errorf("nobody is let in while the audit log cannot be written: %w", err)
	}
	return admin.Login{
		URL: s.config.URL + "/login?token=" + token.reveal(), Expires: made.expires, Fingerprint: s.config.Fingerprint(),
	}, nil
}

func words(rights []admin.Right) string {
	out := make([]string, 0, len(rights))
	for _, r := range rights {
		out = append(out, string(r))
	}
	return strings.Join(out, ", ")
}
