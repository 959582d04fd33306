package kv

import (
	"fmt"
	"strconv"
	"strings"
)

// Where things are, below the prefix of the mesh. Revisions have 20 digits, so that keys
// sort as they do.
const (
	objectsBelow   = "objects/"
	revisionsBelow = objectsBelow + "revisions/"
	snapshotsBelow = objectsBelow + "snapshot/"
	partsBelow     = objectsBelow + "parts/"
	tokensBelow    = "tokens/"
	// latestKey names the snapshot that the log begins with.
	latestKey = snapshotsBelow + "latest"
)

func revisionKey(revision uint64) string { return fmt.Sprintf("%s%020d", revisionsBelow, revision) }

func partKey(id string, i int) string { return fmt.Sprintf("%s%s/%04d", partsBelow, id, i) }

func snapshotKey(revision uint64, i int) string {
	return fmt.Sprintf("%s%020d/%04d", snapshotsBelow, revision, i)
}

// revisionOf reads a key of a revision, or of a part of a snapshot of one.
func revisionOf(key, below string) (uint64, bool) {
	name, ok := strings.CutPrefix(key, below)
	if !ok {
		return 0, false
	}
	name, _, _ = strings.Cut(name, "/")
	revision, err := strconv.ParseUint(name, 10, 64)
	return revision, err == nil && len(name) == 20
}

// partsOf reads the id in the key of a part.
func partsOf(key string) (id string, ok bool) {
	name, ok := strings.CutPrefix(key, partsBelow)
	if !ok {
		return "", false
	}
	id, _, ok = strings.Cut(name, "/")
	return id, ok
}

// newest is the highest revision among keys.
func newest(keys []string) uint64 {
	var last uint64
	for _, key := range keys {
		if revision, ok := revisionOf(key, revisionsBelow); ok {
			last = max(last, revision)
		}
	}
	return last
}
