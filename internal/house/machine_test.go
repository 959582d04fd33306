package house

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"testing"
	"unicode/utf8"
)

// The patterns are put together from pieces, so that this file does not hold
// what it looks for.
var (
	homes     = regexp.MustCompile(`(^|[^\w.~$}/])/(` + `root|work|home/\w+|Users/\w+)/`)
	registry  = regexp.MustCompile(`GO` + `PROXY|proxy\.golang\.` + `org`)
	notSource = regexp.MustCompile(`\.(sum|svg|log)$`)
)

// breaksAnyMachine lists text that is true on one machine only.
func breaksAnyMachine(t *tree) []string {
	var broken []string
	for _, f := range t.files {
		if notSource.MatchString(path.Base(f.name)) || !utf8.Valid(f.src) {
			continue
		}
		n := 0
		for line := range bytes.Lines(f.src) {
			n++
			if m := homes.Find(line); m != nil {
				broken = append(broken, fmt.Sprintf(
					"%s:%d holds the absolute path %q: it is there on one machine only", f.name, n, bytes.TrimSpace(m)))
			}
			if m := registry.Find(line); m != nil {
				broken = append(broken, fmt.Sprintf(
					"%s:%d names %q: where modules come from is the machine's to say", f.name, n, m))
			}
		}
	}
	return broken
}

func TestNothingIsTrueOnOneMachineOnly(t *testing.T) {
	report(t, breaksAnyMachine(repository(t)))
}

func TestTheRuleOfMachinesBites(t *testing.T) {
	slash := "/"
	bites(t, breaksAnyMachine, []bite{
		{
			name: "relative paths, addresses and system folders are fine",
			files: map[string]string{
				"a.md":   "work/main, ./root/x, https://example.com/work/x, /etc/tulle, /run/tulle/xds.sock, unix:///run/x\n",
				"go.sum": slash + "root/x\n",
			},
		},
		{
			name:  "a home folder is not",
			files: map[string]string{"a.md": "see\n" + slash + "root/x and\n", "b.go": "package b // " + slash + "home/someone/x\n"},
			want:  []string{`a.md:2 holds the absolute path`, `b.go:1 holds the absolute path`},
		},
		{
			name:  "a registry is not",
			files: map[string]string{"run": "export GO" + "PROXY=direct\n"},
			want:  []string{"run:1 names"},
		},
	})
}
