package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what the system says of a process.
type Usage struct {
	// CPU is user and system time together, to 10 ms.
	CPU time.Duration `json:"cpu"`
	// RSS is resident memory and Private what of it no other process shares, in bytes.
	RSS     int64 `json:"rss"`
	Private int64 `json:"private"`
}

// ErrNoProc is where the system has no /proc: usage is known on Linux alone.
var ErrNoProc = errors.New("the system tells nothing of other processes (no /proc)")

// UsageOf reads the usage of a process that lives.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, errors.Join(ErrNoProc, err)
	}
	// The name, in brackets, may hold anything; the fields after it are those of proc(5).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime, hertz = 11, 12, 100
	if len(fields) <= stime {
		return u, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	for _, field := range [][]byte{fields[utime], fields[stime]} {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * time.Second / hertz
	}
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, err
	}
	u.RSS = kilobytes(rollup, "Rss:")
	u.Private = kilobytes(rollup, "Private_Clean:") + kilobytes(rollup, "Private_Dirty:")
	return u, nil
}

// kilobytes returns the bytes of a line "Name:   12 kB".
func kilobytes(b []byte, name string) int64 {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			kb, _ := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return kb << 10
		}
	}
	return 0
}
