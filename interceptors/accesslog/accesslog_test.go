package accesslog

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// written returns a Log, and what it wrote.
func written(share float64) (*Log, func(t *testing.T) []map[string]any) {
	var b bytes.Buffer
	l := New(slog.New(slog.NewJSONHandler(&b, nil)))
	l.Sample(share)
	return l, func(t *testing.T) (lines []map[string]any) {
		t.Helper()
		for line := range strings.Lines(b.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			delete(m, "time")
			lines = append(lines, m)
		}
		return lines
	}
}

func TestALineSaysWhatIsKnown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry Entry
		want  map[string]any
	}{
		{
			"a call that was served",
			Entry{Peer: "spiffe://m/web", Method: "/v1.Voting/Vote", Took: 3 * time.Millisecond, Trace: "0af7", Attempts: 1},
			map[string]any{
				"level": "INFO", "msg": "call served", "caller": "spiffe://m/web", "method": "/v1.Voting/Vote", "code": "OK",
				"took": 3e6, "trace": "0af7",
			},
		},
		{
			"one that was made in vain",
			Entry{
				Side: Client, Peer: "voting", Method: "/v1.Voting/Vote", Code: codes.Unavailable, Attempts: 3, Endpoint: "10.0.0.1:80",
				Reason: call.NoEndpoint, Message: "no endpoint",
			},
			map[string]any{
				"level": "INFO", "msg": "call made", "service": "voting", "method": "/v1.Voting/Vote", "code": "UNAVAILABLE",
				"took": 0.0, "attempts": 3.0, "endpoint": "10.0.0.1:80", "reason": "NO_ENDPOINT", "error": "no endpoint",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, lines := written(1)
			l.Tell(tt.entry)
			if diff := cmp.Diff([]map[string]any{tt.want}, lines(t)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhichCallsAreTold(t *testing.T) {
	var none *Log
	if none.Wants(codes.Internal) {
		t.Error("no log wants a call")
	}
	for _, tt := range []struct {
		name       string
		share      float64
		ok, failed float64 // the shares that are told
	}{
		{"none while it is off", 0, 0, 0},
		{"a share, and all that fail", 0.25, 0.25, 1},
		{"all", 1, 1, 1},
		{"no more than all", 7, 1, 1},
		{"none for less than none", -1, 0, 0},
		{"none for what is no number", math.NaN(), 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const calls = 20_000
			l, _ := written(tt.share)
			var got [2]float64
			for range calls {
				for i, code := range []codes.Code{codes.OK, codes.NotFound} {
					if l.Wants(code) {
						got[i]++
					}
				}
			}
			// Five standard deviations.
			if math.Abs(got[0]/calls-tt.ok) > 0.02 || got[1]/calls != tt.failed {
				t.Errorf("told %v of %d calls, want %v and %v of them", got, calls, tt.ok, tt.failed)
			}
		})
	}
}

func TestAFloodIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, lines := written(1)
		for range 1000 {
			l.Tell(Entry{Code: codes.PermissionDenied})
		}
		for range 3 {
			l.Tell(Entry{}) // has lines of its own
			l.Tell(Entry{Side: Client})
			l.Tell(Entry{Side: Client, Code: codes.Unavailable})
		}
		if got := len(lines(t)); got != Most+9 {
			t.Errorf("%d lines, want %d of those that fail and the others", got, Most)
		}
		time.Sleep(time.Second)
		l.Tell(Entry{Code: codes.PermissionDenied})
		l.Tell(Entry{Code: codes.PermissionDenied})
		all := lines(t)
		if got := all[len(all)-2]["left_out"]; got != 900.0 {
			t.Errorf("the next line stands for %v others, want 900", got)
		}
		if got, ok := all[len(all)-1]["left_out"]; ok {
			t.Errorf("the one after it, too: %v", got)
		}
	})
}

func TestItIsSwitchedWhileItRuns(t *testing.T) {
	l, _ := written(0)
	for _, share := range []float64{1, 0, 1} {
		l.Sample(share)
		if got := l.Wants(codes.OK); got != (share > 0) || l.Share() != share {
			t.Errorf("at %v a call is told: %v", share, got)
		}
	}
}

func TestACallThatIsNotToldCostsNothing(t *testing.T) {
	for _, share := range []float64{0, 1e-12} {
		l, _ := written(share)
		if got := testing.AllocsPerRun(1000, func() { l.Wants(codes.OK) }); got != 0 {
			t.Errorf("with a share of %v it costs %v allocations", share, got)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("spiffe://m/web")
	f.Add("/a\x1b[2J\nlevel=ERROR")
	f.Add("\u202egnp.exe\xff")
	f.Add(strings.Repeat("ä", 300))
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		if !utf8.ValidString(got) || len(got) > 4*maxText {
			t.Errorf("%q is %q", text, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e }) {
			t.Errorf("%q is %q", text, got)
		}
	})
}
