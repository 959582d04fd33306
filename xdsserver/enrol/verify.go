package enrol

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// VerifyAudit reads the log at path, and the full one before it where there is one,
// and returns how many lines they have. The error names the first line that does not
// follow from the one before it. It is for a log that nobody writes to meanwhile: of
// the last line there could be half.
func VerifyAudit(path string) (lines int, err error) {
	// The old log goes on with one that is gone.
	before, prev, err := verifyChain(path+oldAudit, nil)
	kept := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return before, err
	}
	lines, _, err = verifyChain(path, &prev)
	if kept && errors.Is(err, fs.ErrNotExist) {
		err = nil // between the two there is a moment without a new one
	}
	return before + lines, err
}

// verifyChain verifies one file. Its first line follows from prev; nil is any.
func verifyChain(path string, prev *string) (lines int, last string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", fmt.Errorf("enrol: audit log: %w", err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		var e Entry
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			return lines, last, fmt.Errorf("enrol: audit log: %s: line %d is damaged: %w", path, lines+1, err)
		}
		switch {
		case prev == nil, *prev == e.Prev:
		case lines == 0:
			return 0, "", fmt.Errorf("enrol: audit log: %s: its first line does not follow from what was before it: lines were taken out, or %s%s was",
				path, path, oldAudit)
		default:
			return lines, last, fmt.Errorf("enrol: audit log: %s: line %d does not follow line %d: one of them was changed, or a line between them taken out",
				path, lines+1, lines)
		}
		last = chained(scanner.Bytes())
		prev = &last
		lines++
	}
	if err := scanner.Err(); err != nil {
		return lines, last, fmt.Errorf("enrol: audit log: %s: line %d: %w", path, lines+1, err)
	}
	return lines, last, nil
}
