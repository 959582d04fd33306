package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatIsWatchedIsLookedAtEveryTwoSeconds(t *testing.T) {
	for _, test := range []struct {
		name     string
		terminal bool
		want     string
	}{
		{"a terminal is drawn anew", true, "\x1b[H\x1b[2J0s\n\x1b[H\x1b[2Jxdsserver is away\n\x1b[H\x1b[2J4s\n"},
		{"elsewhere blocks follow each other", false, "0s\n\nxdsserver is away\n\n4s\n\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				var out bytes.Buffer
				err := redraw(ctx, &out, test.terminal, func(_ context.Context, w io.Writer) error {
					if time.Since(began) == redrawEvery {
						return errors.New("xdsserver is away")
					}
					fmt.Fprintln(w, time.Since(began))
					return nil
				})
				if err != nil || out.String() != test.want {
					t.Errorf("%v, %q, want %q", err, out.String(), test.want)
				}
			})
		})
	}
}

func TestWatchingEndsWhereNobodyAnswersAtFirst(t *testing.T) {
	nobody := errors.New("nobody answers")
	if err := redraw(t.Context(), io.Discard, false, func(context.Context, io.Writer) error { return nobody }); !errors.Is(err, nobody) {
		t.Errorf("got %v", err)
	}
}

func TestCheckWaitsUntilNothingFails(t *testing.T) {
	for _, test := range []struct {
		name       string
		wait       time.Duration
		after      time.Duration // all is well from here on
		took       time.Duration
		good, spun bool
	}{
		{"it does not wait unless it is told to", 0, time.Second, 0, false, false},
		{"all is well at once", time.Minute, 0, 0, true, false},
		{"all is well soon", time.Minute, 2500 * time.Millisecond, 3 * time.Second, true, true},
		{"the time is over", 5 * time.Second, time.Hour, 4 * time.Second, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var spin bytes.Buffer
				result := waitForChecks(t.Context(), test.wait, &spin, func(context.Context) checkJSON {
					line := resultLine{Description: "it is up", Result: success}
					if time.Since(began) < test.after {
						line.Result, line.passing = failure, true
					}
					return checkJSON{Success: line.Result == success, Categories: []categoryJSON{{"x", []resultLine{line}}}}
				})
				if took := time.Since(began); result.Success != test.good || took != test.took {
					t.Errorf("success %v after %v, want %v after %v", result.Success, took, test.good, test.took)
				}
				if spun := bytes.Contains(spin.Bytes(), []byte("⠙ it is up")); spun != test.spun {
					t.Errorf("it showed %q", spin.String())
				}
			})
		})
	}
}

func TestCheckStopsWaitingWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		began := time.Now()
		waitForChecks(ctx, time.Hour, io.Discard, func(context.Context) checkJSON {
			return checkJSON{Categories: []categoryJSON{{"x", []resultLine{{Description: "it is up", Result: failure, passing: true}}}}}
		})
		if took := time.Since(began); took != 1500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}
