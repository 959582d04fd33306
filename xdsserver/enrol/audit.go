package enrol

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The events of the audit log.
const (
	eventAttested     = "attested"
	eventEnrolled     = "enrolled"
	eventRenewed      = "renewed"
	eventRefused      = "refused"
	eventAskedForMore = "csr.asked-for-more"
	eventCreated      = "token.created"
	eventRedeemed     = "token.redeemed"
	eventRevoked      = "token.revoked"
)

const (
	// maxAudit is the size at which the log becomes the one kept beside it.
	maxAudit = 64 << 20
	// maxLine bounds a line that is read back.
	maxLine  = 64 << 10
	oldAudit = ".1"
)

// An Entry is one line of the audit log. Secrets are in none.
type Entry struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	// Identity is the SPIFFE id that the event is about.
	Identity string `json:"identity,omitempty"`
	Peer     string `json:"peer,omitempty"`
	Instance string `json:"instance,omitempty"`
	Serial   string `json:"serial,omitempty"`
	// Token is the id of a join token.
	Token  string `json:"token,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Prev is the SHA-256 of the line before, without its line end: a line that is
	// changed or taken out breaks the chain.
	Prev string `json:"prev"`
}

func (e Entry) as(event, reason string) Entry {
	e.Event, e.Reason = event, reason
	return e
}

// An Audit is an append-only log. Its methods are safe for concurrent use, and on
// a nil Audit do nothing.
type Audit struct {
	path string

	mu   sync.Mutex // held through the write: lines are a chain
	file *os.File
	size int64
	prev string
}

// OpenAudit opens the log at path, or makes one with mode 0600, and goes on with
// its chain. A last line that a crash cut short is completed by a line end and
// stays, so that it can be seen. The caller closes it.
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
	last, size, err := lastLine(file)
	if err == nil && size == 0 {
		// A log that was just begun goes on with the chain of the one before.
		if old, openErr := os.Open(a.path + oldAudit); openErr == nil {
			last, _, err = lastLine(old)
			_ = old.Close()
		}
		if err == nil {
			err = syncDir(filepath.Dir(a.path))
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if n := len(last); size > 0 && n > 0 && last[n-1] != '\n' {
		if _, err := file.WriteString("\n"); err != nil {
			return errors.Join(err, file.Close())
		}
		size++
	}
	a.file, a.size, a.prev = file, size, chained(bytes.TrimSuffix(last, []byte("\n")))
	return nil
}

// lastLine returns the last line of a log with its line end, and the log's size.
func lastLine(f *os.File) ([]byte, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	from := max(0, info.Size()-maxLine)
	tail := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if i := bytes.LastIndexByte(bytes.TrimSuffix(tail, []byte("\n")), '\n'); i >= 0 {
		tail = tail[i+1:]
	}
	return tail, info.Size(), nil
}

// chained is what the next line says of a line; empty for the first of all.
func chained(line []byte) string {
	if len(line) == 0 {
		return ""
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Append writes an entry and returns when it is on disk. Time and Prev are its own.
func (a *Audit) Append(e Entry) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return errors.New("enrol: audit log: is closed")
	}
	if a.size >= maxAudit {
		if err := a.rotate(); err != nil {
			return fmt.Errorf("enrol: audit log: %w", err)
		}
	}
	e.Time, e.Prev = time.Now().UTC(), a.prev
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("enrol: audit log: %w", err)
	}
	n, err := a.file.Write(append(line, '\n'))
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		// Half a line must not be the begin of the next one.
		if n > 0 {
			err = errors.Join(err, a.file.Truncate(a.size))
		}
		return fmt.Errorf("enrol: audit log: %w", err)
	}
	a.size += int64(n)
	a.prev = chained(line)
	return nil
}

// rotate keeps the log under another name, in place of the one kept before.
func (a *Audit) rotate() error {
	if err := os.Rename(a.path, a.path+oldAudit); err != nil {
		return err
	}
	full := a.file
	if err := a.open(); err != nil {
		a.file = full // it goes on there
		return err
	}
	return full.Close()
}

// Close closes the log. It is idempotent.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}

// VerifyAudit reads the log at path and returns how many lines it has. The error
// names the first line that does not follow from the one before it.
func VerifyAudit(path string) (lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("enrol: audit log: %w", err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, maxLine)
	prev := ""
	for scanner.Scan() {
		var e Entry
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			return lines, fmt.Errorf("enrol: audit log: line %d is damaged: %w", lines+1, err)
		}
		// The first goes on with the log before it, which may be gone.
		if lines > 0 && e.Prev != prev {
			return lines, fmt.Errorf("enrol: audit log: line %d does not follow line %d: one of them was changed, or a line between them taken out", lines+1, lines)
		}
		prev = chained(scanner.Bytes())
		lines++
	}
	return lines, scanner.Err()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
