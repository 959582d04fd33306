package tap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestProcessesAreToldOfATapAndOfItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{
			To: "voting.default", From: "*", Method: "Vote", Metadata: map[string]string{"X-User": "ada"}, Failures: true, Payload: true,
			MaxRPS: 50, Duration: time.Minute, By: "user 1000",
		})
		want := []model.Tap{{
			ID: w.id, To: "voting", From: "*", Method: "Vote", Metadata: map[string]string{"x-user": "ada"}, Failures: true, Payload: true,
			MaxRPS: 25, Until: time.Now().Add(time.Minute),
		}}
		if d := cmp.Diff(want, r.taps(web)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		wantCommands := []Command{{
			Service: "web", Kind: "tap", What: "to voting, from *, method Vote, x-user=ada, failures, messages, 50/s", By: "user 1000", Until: w.Until(),
		}}
		if d := cmp.Diff(wantCommands, r.Commands()); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if w.Close(); len(r.taps(web)) != 0 || len(r.Commands()) != 0 {
			t.Errorf("closed, and told %v", r.taps(web))
		}
		// The service stays: its resource is not to be gone.
		if r.emitted.Commands[web] == nil {
			t.Error("commands of nothing are gone")
		}
		w.Close()
	})
}

func TestATapEndsByItself(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{Duration: time.Minute})
		time.Sleep(time.Minute - time.Nanosecond)
		if len(r.taps(web)) != 1 {
			t.Error("it is over too soon")
		}
		time.Sleep(time.Nanosecond)
		if len(r.taps(web)) != 0 {
			t.Error("it goes on")
		}
		ask(t, w)
		if _, err := w.Next(t.Context()); !IsOver(err) {
			t.Errorf("the reader is told %v", err)
		}
	})
}

func TestTheRateIsDividedAmongProcesses(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.open(Request{})
		one := r.open(Request{Instance: "a", MaxRPS: 30})
		for i, want := range []struct {
			processes int
			rate      float64
		}{{2, 50}, {4, 25}, {0, 100}, {1, 100}} {
			r.set(func() { r.processes = want.processes })
			time.Sleep(tick)
			for _, tap := range r.taps(web) {
				rate := want.rate
				if tap.ID == one.id {
					rate = 30
				}
				if tap.MaxRPS != rate {
					t.Errorf("%d: %v calls a second of each, want %v", i, tap.MaxRPS, rate)
				}
			}
		}
		outputs := r.outputs
		time.Sleep(time.Minute)
		if synctest.Wait(); r.outputs != outputs {
			t.Errorf("%d outputs, and nothing changed", r.outputs-outputs)
		}
	})
}

func TestTheReaderHearsHowManyProcessesTap(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{})
		if u := ask(t, w); u.Tapping != 0 || u.Of != 2 || !u.Until.Equal(w.Until()) {
			t.Errorf("at first: %+v", u)
		}
		r.set(func() { r.acknowledged = w.generation })
		began := time.Now()
		u, err := w.Next(t.Context())
		if err != nil || u.Tapping != 2 || time.Since(began) > 2*early {
			t.Errorf("%+v, %v, after %v", u, err, time.Since(began))
		}
		for range 3 {
			began = time.Now()
			if u, err = w.Next(t.Context()); err != nil || u.Event != nil || time.Since(began) != tick {
				t.Errorf("%+v, %v, after %v", u, err, time.Since(began))
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("he went home")
		cancel(why)
		if _, err := w.Next(ctx); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTapsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var open []*Watch
		for i := range 50 {
			w, err := r.Open(Request{Service: model.ServiceName{Namespace: "default", Name: fmt.Sprint("s", i/6)}})
			if err != nil {
				if !errors.Is(err, ErrFull) {
					t.Errorf("%d: %v", i, err)
				}
				continue
			}
			open = append(open, w)
		}
		if len(open) != MaxTaps {
			t.Errorf("%d of 50 are open, want %d", len(open), MaxTaps)
		}
		for name, c := range r.emitted.Commands {
			if len(c.Taps) > MaxPerService {
				t.Errorf("%s is told %d", name, len(c.Taps))
			}
		}
		open[0].Close()
		r.open(Request{})
	})
}

func TestServicesThatWereToldSomethingAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range maxCommanded {
		r.commands[model.ServiceName{Name: fmt.Sprint(i)}] = &model.Commands{}
	}
	if _, err := r.Open(Request{Service: web}); !errors.Is(err, ErrFull) {
		t.Errorf("tap: %v", err)
	}
	if _, _, err := r.SetLog(LogRequest{Service: web, Duration: time.Minute}); !errors.Is(err, ErrFull) {
		t.Errorf("log: %v", err)
	}
}

func TestRequestsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		request Request
		want    string
	}{
		"a service that is none":   {Request{To: "a b"}, "to names no service"},
		"a pattern that moves":     {Request{From: "*\x1b[2J"}, "from is"},
		"a long method":            {Request{Method: strings.Repeat("m", 600)}, "method is"},
		"an instance that is none": {Request{Instance: "a\n"}, "instance is"},
		"too many calls":           {Request{MaxRPS: 1001}, "max_rps is 1001"},
		"too few":                  {Request{MaxRPS: 0.5}, "max_rps is 0.5"},
		"too long":                 {Request{Duration: 2 * time.Hour}, "duration is 2h0m0s"},
		"no time":                  {Request{Duration: -time.Second}, "duration is -1s"},
		"a secret by its value":    {Request{Metadata: map[string]string{"Authorization": "Bearer x"}}, "the key of a secret"},
		"metadata without a key":   {Request{Metadata: map[string]string{"": "x"}}, "no key with a value"},
		"metadata that turns":      {Request{Metadata: map[string]string{"a": "\u202e"}}, "no key with a value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newRig(t).Open(test.request)
			if _, ok := errors.AsType[*RequestError](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprint("k", i)] = "v"
	}
	if _, err := newRig(t).Open(Request{Metadata: many}); err == nil {
		t.Error("17 conditions are taken")
	}
}

func TestWhoStopsReadingIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		slow, fast := r.open(Request{MaxRPS: 1000}), r.open(Request{MaxRPS: 1000})
		ask(t, slow)
		ask(t, fast)
		// An idle reader is no slow one.
		time.Sleep(2 * stalled)
		seen := 0
		for i := range 100 {
			for range 100 {
				r.report(&tapv1.ReportRequest{Events: []*tapv1.Event{{Tap: slow.id}, {Tap: fast.id}}})
			}
			for u := ask(t, fast); u.Event != nil; u = ask(t, fast) {
				seen++
			}
			if n, _, _ := slow.waits(); n > maxWaiting {
				t.Fatalf("%d events wait", n)
			}
			if i < 20 && len(r.taps(web)) != 2 {
				t.Fatalf("cut after %d s", i)
			}
			time.Sleep(time.Second)
		}
		if len(r.taps(web)) != 1 {
			t.Errorf("%d taps are open, want that of who reads", len(r.taps(web)))
		}
		if _, err := slow.Next(t.Context()); !errors.Is(err, errSlow) {
			t.Errorf("he is told %v", err)
		}
		if told, dropped := slow.Close(); told != 0 || dropped < maxWaiting {
			t.Errorf("%d told, %d dropped", told, dropped)
		}
		if told, _ := fast.Close(); seen != 100*100 || told != uint64(seen) {
			t.Errorf("who reads has seen %d, %d are told", seen, told)
		}
	})
}

func TestWhatWaitsForAReaderIsBoundedInBytes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{MaxRPS: 1000, Payload: true})
		large := &tapv1.Event{Tap: w.id}
		for range maxMessages {
			large.Messages = append(large.Messages, &tapv1.Message{Json: `"` + strings.Repeat("x", maxJSON-2) + `"`})
		}
		for range 100 {
			r.report(&tapv1.ReportRequest{Events: []*tapv1.Event{large, large, large}})
		}
		if n, bytes, dropped := w.waits(); bytes > maxWaitingBytes || n < 10 || dropped != uint64(300-n) {
			t.Errorf("%d events of %d bytes wait, %d dropped", n, bytes, dropped)
		}
	})
}

func TestTheRateHoldsForAllProcesses(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{MaxRPS: 10})
		flood := func(attempt uint32) *tapv1.ReportRequest {
			req := &tapv1.ReportRequest{}
			for range maxEvents {
				req.Events = append(req.Events, &tapv1.Event{Tap: w.id, Attempt: attempt})
			}
			return req
		}
		r.report(flood(0))
		if n, _, _ := w.waits(); n != 10 {
			t.Errorf("%d calls at once, want 10", n)
		}
		r.report(flood(1))
		if n, _, _ := w.waits(); n != 60 {
			t.Errorf("%d with attempts, want 60", n)
		}
		time.Sleep(time.Second)
		r.report(flood(0))
		if n, _, _ := w.waits(); n != 70 {
			t.Errorf("%d a second later, want 70", n)
		}
		r.report(&tapv1.ReportRequest{Dropped: map[string]uint64{w.id: 5}})
		if u := ask(t, w); u.Dropped != 3*maxEvents-70+5 {
			t.Errorf("%d dropped", u.Dropped)
		}
		r.report(&tapv1.ReportRequest{Dropped: map[string]uint64{w.id: ^uint64(0)}})
		if u := ask(t, w); u.Dropped != ^uint64(0) {
			t.Errorf("%d dropped: it wraps around", u.Dropped)
		}
	})
}

func TestLogsGoBackByThemselves(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		until, processes, err := r.SetLog(LogRequest{Service: voting, Level: "debug", Access: 0.1, Duration: time.Minute, By: "user 1000"})
		if err != nil || processes != 2 || !until.Equal(time.Now().Add(time.Minute)) {
			t.Fatalf("%v, %d, %v", until, processes, err)
		}
		if d := cmp.Diff(&model.LogCommand{Level: "debug", Access: 0.1, Until: until}, r.log(voting)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if d := cmp.Diff([]Command{{Service: "voting", Kind: "log", What: "level debug, access 0.1", By: "user 1000", Until: until}}, r.Commands()); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		time.Sleep(time.Minute)
		if r.log(voting) != nil || len(r.Commands()) != 0 {
			t.Error("it goes on")
		}
		for _, d := range []time.Duration{time.Hour, 0} { // the second ends the first
			if _, _, err := r.SetLog(LogRequest{Service: voting, Access: 1, Duration: d}); err != nil {
				t.Fatal(err)
			}
		}
		if r.log(voting) != nil {
			t.Error("it was ended, and goes on")
		}
	})
	for name, request := range map[string]LogRequest{
		"a level that is none":       {Level: "loud"},
		"a share of more than all":   {Access: 1.1},
		"a share that is no number":  {Access: nan()},
		"for ever":                   {Duration: 100 * time.Hour},
		"for less than no time":      {Duration: -1},
		"an instance that is no one": {Instance: "\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := newRig(t).SetLog(request); err == nil {
				t.Error("it is taken")
			}
		})
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

func TestTheEndOfXDSServerLetsReadersGo(t *testing.T) {
	var w *Watch
	bubble(t, func(t *testing.T, r *rig) {
		w = r.open(Request{})
		ask(t, w)
	})
	if !errors.Is(w.ended, errClosing) {
		t.Errorf("got %v", w.ended)
	}
}
