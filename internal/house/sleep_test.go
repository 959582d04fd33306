package house

import (
	"fmt"
	"go/ast"
	"testing"
)

// breaksNoSleep lists calls of time.Sleep in tests outside the function literal
// that synctest.Test runs. It reads the text and follows no calls: a helper of
// bubbles takes its time from a timer or a context.
func breaksNoSleep(t *tree) []string {
	var broken []string
	for _, f := range t.goFiles() {
		if !f.isTest() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch {
			case f.isCallOf(n, "testing/synctest", "Test"):
				return false // time is virtual inside
			case f.isCallOf(n, "time", "Sleep"):
				broken = append(broken, fmt.Sprintf(
					"%s sleeps for real: it is slow when it passes and flaky when it is not; "+
						"run the test in synctest.Test, or wait for what must happen", t.at(n)))
			}
			return true
		})
	}
	return broken
}

func TestTestsSleepOnlyInVirtualTime(t *testing.T) {
	report(t, breaksNoSleep(repository(t)))
}

func TestTheRuleOfSleepBites(t *testing.T) {
	bites(t, breaksNoSleep, []bite{
		{
			name: "virtual time is free",
			files: map[string]string{"a_test.go": `package a

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { time.Sleep(time.Hour) })
}
`},
		},
		{
			name: "real time is not, whatever the file calls the package",
			files: map[string]string{
				"a_test.go": "package a\n\nimport \"time\"\n\nfunc wait() { time.Sleep(1) }\n",
				"b_test.go": "package a\n\nimport clock \"time\"\n\nfunc wait2() { clock.Sleep(1) }\n",
				"c_test.go": "package a\n\nvar time clock\n\nfunc wait3() { time.Sleep(1) }\n",
				"d.go":      "package a\n\nimport \"time\"\n\nfunc wait4() { time.Sleep(1) }\n",
			},
			want: []string{"a_test.go:5 sleeps for real", "b_test.go:5 sleeps for real"},
		},
	})
}
