package resource

import "strings"

// Parts and ends of metadata keys whose values are secrets.
var (
	secretParts = []string{"authorization", "cookie", "password", "passwd", "secret", "credential", "session"}
	secretEnds  = []string{"token", "-key", "_key", "apikey", "jwt", "-assertion"}
)

// SecretKey reports whether a metadata key is of a secret by its name: authorization,
// cookies, and what is called a token, a key, a secret or a password. Its value is shown
// to nobody. Case does not matter, and neither does the end "-bin".
func SecretKey(key string) bool {
	key = strings.TrimSuffix(strings.ToLower(key), "-bin")
	for _, part := range secretParts {
		if strings.Contains(key, part) {
			return true
		}
	}
	for _, end := range secretEnds {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return false
}
