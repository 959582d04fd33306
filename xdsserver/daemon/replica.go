package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// replicaFile holds the name of this xdsserver among others, in the data directory:
// who starts again with the directory is the same one.
const replicaFile = "replica"

// replicaName is what is accepted of the file: it is part of keys, and of ids in Consul.
var replicaName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// replica returns the name of the xdsserver of a data directory, and gives it one where
// it has none.
func replica(data string) (string, error) {
	path := filepath.Join(data, replicaFile)
	text, err := os.ReadFile(path)
	if err == nil {
		name := strings.TrimSpace(string(text))
		if !replicaName.MatchString(name) {
			return "", fmt.Errorf("%s holds %.80q, which is no name of an xdsserver: restore it, or remove it to be another one", path, name)
		}
		return name, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := newReplica(hostname())
	if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
		return "", err
	}
	return name, nil
}

// newReplica is the host's name, as far as it is letters and digits, and something random.
func newReplica(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	host = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, host), "-")
	const most = 40
	host = strings.Trim(host[:min(len(host), most)], "-")
	suffix := strings.ToLower(rand.Text()[:6])
	if host == "" {
		return "xdsserver-" + suffix
	}
	return host + "-" + suffix
}
