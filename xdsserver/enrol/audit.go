package enrol

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The events of the audit log that are this package's.
const (
	eventAttested     = "attested"
	eventEnrolled     = "enrolled"
	eventRenewed      = "renewed"
	eventRefused      = "refused"
	eventAskedForMore = "csr.asked-for-more"
	eventCreated      = "token.created"
	eventRedeemed     = "token.redeemed"
	eventRevoked      = "token.revoked"
	eventRecovered    = "audit.recovered"
)

const (
	// maxAudit is the size at which the log becomes the one kept beside it.
	maxAudit = 64 << 20
	// maxLine bounds a line, in bytes: maxField of each field, escaped.
	maxLine, maxField = 64 << 10, 1 << 10
	oldAudit          = ".1"
)

// An Entry is one line of the audit log. Secrets are in none.
type Entry struct {
	Time time.Time `json:"time"`
	// Event is one of enrolled, renewed, refused, token.created and so on; other
	// packages append their own, as in authority.rotated.
	Event string `json:"event"`
	// Identity is the SPIFFE id that the event is about.
	Identity string `json:"identity,omitempty"`
	Peer     string `json:"peer,omitempty"`
	Instance string `json:"instance,omitempty"`
	Serial   string `json:"serial,omitempty"`
	// Token is the id of a join token.
	Token  string `json:"token,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Unwritten is how many refusals before this one were not written, since there
	// were too many.
	Unwritten uint64 `json:"unwritten,omitempty"`
	// Prev is the SHA-256 of the line before, without its line end: a line that is
	// changed or taken out breaks the chain.
	Prev string `json:"prev"`
}

func (e Entry) as(event, reason string) Entry {
	e.Event, e.Reason = event, reason
	return e
}

// clipped bounds what comes from outside.
func (e Entry) clipped() Entry {
	for _, field := range []*string{&e.Event, &e.Identity, &e.Peer, &e.Instance, &e.Serial, &e.Token, &e.Reason} {
		if len(*field) > maxField {
			*field = strings.ToValidUTF8((*field)[:maxField], "") + "..."
		}
	}
	return e
}

// An Audit is an append-only log: each line is on disk before what it tells of takes
// effect. Its methods are safe for concurrent use, and on a nil Audit do nothing.
//
// A process that cannot be written of does not join: it is refused until there is
// space. Renewals go on, loudly: who would hold them up could stop the mesh by filling
// a disk.
//
// The chain shows lines that were changed or taken out, but not that the last ones are
// missing, nor that somebody wrote all of it anew: who must know that keeps a copy
// elsewhere.
type Audit struct {
	path string

	mu     sync.Mutex // held through the write: lines are a chain
	file   *os.File   // nil after a failure, until the next line
	size   int64
	prev   string
	closed bool
}

// OpenAudit opens the log at path, or makes one with mode 0600, and goes on with
// its chain. A last line that a crash cut short was never acknowledged: it is taken
// out, and an event tells of it. At 64 MiB the log is renamed to path.1, in place of the
// one kept before. The caller closes it.
func OpenAudit(path string) (*Audit, error) {
	a := &Audit{path: path}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("enrol: audit log: %w", err)
	}
	return a, nil
}

func (a *Audit) open() error {
	file, err := os.OpenFile(a.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	a.file = file
	if err := a.resume(); err != nil {
		a.drop()
		return err
	}
	return nil
}

// resume finds the end of the chain.
func (a *Audit) resume() error {
	if err := a.file.Chmod(0o600); err != nil {
		return err
	}
	last, cut, size, err := lastLine(a.file)
	if err != nil {
		return err
	}
	a.prev, a.size = chained(last), size-int64(len(cut))
	if a.size == 0 {
		// A log that was just begun goes on with the chain of the one before.
		if err := a.resumeOld(); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(a.path)); err != nil {
			return err
		}
	}
	if len(cut) == 0 {
		return nil
	}
	if err := a.file.Truncate(a.size); err != nil {
		return err
	}
	return a.write(Entry{Event: eventRecovered, Reason: fmt.Sprintf("the last line was cut short: %.200q", cut)})
}

func (a *Audit) resumeOld() error {
	old, err := os.Open(a.path + oldAudit)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	last, _, _, err := lastLine(old)
	a.prev = chained(last)
	return err
}

// lastLine returns the last whole line of a log without its line end, what follows
// it, and the log's size.
func lastLine(f *os.File) (line, cut []byte, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, 0, err
	}
	from := max(0, info.Size()-2*maxLine)
	tail := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, 0, err
	}
	end := bytes.LastIndexByte(tail, '\n')
	begin := bytes.LastIndexByte(tail[:max(0, end)], '\n') + 1
	if from > 0 && begin == 0 {
		return nil, nil, 0, fmt.Errorf("%s ends with a line of more than %d bytes, which is none of xdsserver's: move the file aside", f.Name(), maxLine)
	}
	return tail[begin:max(begin, end)], tail[end+1:], info.Size(), nil
}

// chained is what the next line says of a line; empty for the first of all.
func chained(line []byte) string {
	if len(line) == 0 {
		return ""
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Append writes an entry and returns when it is on disk. Time and Prev are its own;
// fields are cut at 1 KiB. After an error the entry is not in the log, and the next one
// may be.
func (a *Audit) Append(e Entry) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("enrol: audit log: is closed")
	}
	if err := a.ready(); err != nil {
		return fmt.Errorf("enrol: audit log: %w", err)
	}
	if err := a.write(e); err != nil {
		a.drop()
		return fmt.Errorf("enrol: audit log: %w", err)
	}
	return nil
}

// ready opens the log after a failure, and a new one after a full one.
func (a *Audit) ready() error {
	if a.file == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	if a.size < maxAudit {
		return nil
	}
	a.drop()
	if err := os.Rename(a.path, a.path+oldAudit); err != nil {
		return err
	}
	return a.open()
}

func (a *Audit) write(e Entry) error {
	e = e.clipped()
	e.Time, e.Prev = time.Now().UTC(), a.prev
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	n, err := a.file.Write(append(line, '\n'))
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		if n > 0 {
			// What was not acknowledged should not stand there; if it does, the next
			// open finds it, whole or cut.
			_ = a.file.Truncate(a.size)
		}
		return err
	}
	a.size += int64(n)
	a.prev = chained(line)
	return nil
}

// drop lets go of the file: after a failed fsync, what the kernel shows of it is not
// what the disk has.
func (a *Audit) drop() {
	if a.file != nil {
		_ = a.file.Close() // what was acknowledged was fsynced
		a.file = nil
	}
}

// Close closes the log. It is idempotent.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.drop()
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
