package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
)

// The lengths of a join token's parts, in bytes.
const (
	TokenIDSize     = 8
	TokenSecretSize = 32
	TokenPinSize    = 32
)

// tokenForm is the first part of every token, so that a later form can be told apart.
const tokenForm = "tulle1"

// maxToken bounds a token's text, in bytes.
const maxToken = 512

// A JoinToken is what `xdsserver token create` prints as one line, and what a
// process elsewhere enrols with:
//
//	tulle1.ID.SECRET.PIN@HOST:PORT
//
// ID, SECRET and PIN are base64url without padding.
type JoinToken struct {
	// ID names the token to operators; it is no secret.
	ID [TokenIDSize]byte
	// Secret proves the token. It is shown once and stored as a hash.
	Secret [TokenSecretSize]byte
	// Pin is the SHA-256 of the public key (SubjectPublicKeyInfo) of the root that
	// xdsserver's certificate leads to: how a process that trusts nobody yet knows
	// that it speaks to xdsserver.
	Pin [TokenPinSize]byte
	// Address is the host:port of xdsserver's mesh port.
	Address string
}

var tokenBase64 = base64.RawURLEncoding.Strict()

// IDText is the ID as the token has it, and as operators name it.
func (t JoinToken) IDText() string { return tokenBase64.EncodeToString(t.ID[:]) }

// Reveal returns the token's text, secret and all.
func (t JoinToken) Reveal() string {
	return strings.Join([]string{
		tokenForm, t.IDText(), tokenBase64.EncodeToString(t.Secret[:]), tokenBase64.EncodeToString(t.Pin[:]),
	}, ".") + "@" + t.Address
}

// String leaves the secret out, so that a token that is printed by mistake is
// still one. See [JoinToken.Reveal].
func (t JoinToken) String() string { return tokenForm + "." + t.IDText() + ".[secret]@" + t.Address }

// GoString is String: %#v must not print the secret either.
func (t JoinToken) GoString() string { return t.String() }

// ParseJoinToken reads a token's text. Its error never holds the text.
func ParseJoinToken(text string) (JoinToken, error) {
	var t JoinToken
	text = strings.TrimSpace(text)
	if len(text) > maxToken {
		return t, fmt.Errorf("token: has %d characters, %d are the most", len(text), maxToken)
	}
	secret, address, found := strings.Cut(text, "@")
	if !found {
		return t, errors.New("token: has no '@' and address: paste the whole line that 'xdsserver token create' printed")
	}
	parts := strings.Split(secret, ".")
	if len(parts) != 4 || parts[0] != tokenForm {
		return t, fmt.Errorf("token: is not of the form %s.ID.SECRET.PIN@HOST:PORT: paste the whole line that 'xdsserver token create' printed", tokenForm)
	}
	for i, part := range []struct {
		name string
		into []byte
	}{{"id", t.ID[:]}, {"secret", t.Secret[:]}, {"pin", t.Pin[:]}} {
		decoded, err := tokenBase64.DecodeString(parts[i+1])
		if err != nil || len(decoded) != len(part.into) {
			return JoinToken{}, fmt.Errorf("token: its %s is damaged: paste the whole line that 'xdsserver token create' printed", part.name)
		}
		copy(part.into, decoded)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.ContainsAny(address, " \t\r\n/") {
		return JoinToken{}, errors.New("token: what follows '@' is no HOST:PORT")
	}
	t.Address = address
	return t, nil
}
