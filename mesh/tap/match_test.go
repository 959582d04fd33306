package tap

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestTapsMatch(t *testing.T) {
	vote := Call{Side: Client, Peer: "voting", Method: "/voting.v1.Voting/Vote", Metadata: metadata.MD{"x-user": {"bob", "ada"}}}
	served := Call{Side: Server, Peer: "web", Method: "/voting.v1.Voting/Vote"}
	stranger := Call{Side: Server, Method: "/voting.v1.Voting/Vote"}
	for name, test := range map[string]struct {
		tap  resource.Tap
		call Call
		want bool
	}{
		"all that is made":                        {resource.Tap{}, vote, true},
		"all that is taken":                       {resource.Tap{}, served, true},
		"what is made to a service":               {resource.Tap{To: "voting"}, vote, true},
		"not what is made to another":             {resource.Tap{To: "emoji"}, vote, false},
		"not what is taken":                       {resource.Tap{To: "web"}, served, false},
		"what is taken from a service":            {resource.Tap{From: "web"}, served, true},
		"not what is made":                        {resource.Tap{From: "voting"}, vote, false},
		"either where both are named":             {resource.Tap{To: "voting", From: "web"}, served, true},
		"services by a pattern":                   {resource.Tap{To: "vot*"}, vote, true},
		"not those the pattern does not fit":      {resource.Tap{To: "vot*x"}, vote, false},
		"callers without identity, by a star":     {resource.Tap{From: "*"}, stranger, true},
		"not them, by a name":                     {resource.Tap{From: "web"}, stranger, false},
		"a method's bare name":                    {resource.Tap{Method: "Vote"}, vote, true},
		"another bare name":                       {resource.Tap{Method: "Vot"}, vote, false},
		"a bare pattern":                          {resource.Tap{Method: "*ote"}, vote, true},
		"a bare name is not the service's":        {resource.Tap{Method: "Voting"}, vote, false},
		"a full method":                           {resource.Tap{Method: "/voting.v1.Voting/Vote"}, vote, true},
		"one without its slash":                   {resource.Tap{Method: "voting.v1.Voting/Vote"}, vote, true},
		"a whole service":                         {resource.Tap{Method: "/voting.v1.Voting/*"}, vote, true},
		"another service":                         {resource.Tap{Method: "/voting.v1.Other/*"}, vote, false},
		"metadata with the value among others":    {resource.Tap{Metadata: map[string]string{"X-User": "ada"}}, vote, true},
		"not another value":                       {resource.Tap{Metadata: map[string]string{"x-user": "eve"}}, vote, false},
		"not a part of one":                       {resource.Tap{Metadata: map[string]string{"x-user": "ad"}}, vote, false},
		"not where there is none":                 {resource.Tap{Metadata: map[string]string{"x-user": "ada"}}, served, false},
		"this instance":                           {resource.Tap{Instance: "one"}, vote, true},
		"this instance, by its second endpoint":   {resource.Tap{Instance: "one-2"}, vote, true},
		"not another":                             {resource.Tap{Instance: "two"}, vote, false},
		"a pattern that takes long to find false": {resource.Tap{To: strings.Repeat("*a", 100)}, Call{Peer: strings.Repeat("b", 4000)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := false
			if set := open(newTaps(), test.tap); set != nil {
				got = set.Match(test.call) != nil
			}
			if got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("vot*g", "voting")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, p, s string) {
		if !strings.Contains(p, "*") && pattern(p).matches(s) != (p == s) {
			t.Errorf("%q and %q", p, s)
		}
		if strings.Trim(p, "*") == "" && p != "" && !pattern(p).matches(s) {
			t.Errorf("%q does not match %q", p, s)
		}
		if len(s) > 0 && strings.Contains(p, "*") {
			if filled := strings.ReplaceAll(p, "*", s); !pattern(p).matches(filled) && !strings.Contains(s, "*") {
				t.Errorf("%q does not match %q", p, filled)
			}
		}
	})
}

func TestTheRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps := newTaps()
		set := open(taps, resource.Tap{MaxRPS: 10})
		matched := func(calls int) (n int) {
			for range calls {
				if w := set.Match(Call{}); w != nil {
					n++
				}
			}
			return n
		}
		if n := matched(100); n != 10 {
			t.Errorf("%d at once, want 10", n)
		}
		time.Sleep(time.Second)
		if n := matched(100); n != 10 {
			t.Errorf("%d a second later, want 10", n)
		}
		// A change of the rate gives nobody a second burst.
		set = open(taps, resource.Tap{MaxRPS: 5})
		if n := matched(100); n != 0 {
			t.Errorf("%d after a change, want none", n)
		}
		time.Sleep(time.Minute)
		if n := matched(100); n != 5 {
			t.Errorf("%d a minute later, want 5", n)
		}
		if n := taps.takeDropped()["t"]; n != 4*100-25 {
			t.Errorf("%d dropped", n)
		}
		set = open(taps, resource.Tap{ID: "slow", MaxRPS: 0.1})
		if n := matched(100); n != 1 {
			t.Errorf("%d of less than one a second, want 1", n)
		}
		time.Sleep(10 * time.Second)
		if n := matched(100); n != 1 {
			t.Errorf("%d ten seconds later, want 1", n)
		}
	})
}

func TestTapsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps := newTaps()
		running(t, taps, &xdsserver{hang: true}) // xdsserver is of no help
		set := open(taps, resource.Tap{ID: "a", Until: time.Now().Add(time.Minute)}, resource.Tap{ID: "b", Until: time.Now().Add(2 * time.Minute)})
		if len(set.open) != 2 {
			t.Fatalf("%d are open", len(set.open))
		}
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		if len(taps.Active().open) != 2 || set.Match(Call{}) == nil {
			t.Error("they are over too soon")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if set := taps.Active(); set == nil || len(set.open) != 1 {
			t.Errorf("the first is not over: %+v", set)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if taps.Active() != nil || set.Match(Call{}) != nil {
			t.Error("the second is not over")
		}
	})
}

func TestNoTapIsOpenForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps := newTaps()
		running(t, taps, &xdsserver{})
		for range 3 { // told again and again, by a clock that is wrong
			open(taps, resource.Tap{Until: time.Now().Add(1000 * time.Hour)})
			time.Sleep(longest / 3)
		}
		synctest.Wait()
		if taps.Active() != nil {
			t.Error("it is open")
		}
	})
}

func TestSetOfNothingEndsAll(t *testing.T) {
	taps := newTaps()
	if open(taps, resource.Tap{}) == nil {
		t.Fatal("it is not open")
	}
	taps.Set(nil)
	if taps.Active() != nil {
		t.Error("it is open")
	}
	// What is in progress ends as ever.
	var w *Watch
	w.Request(nil)
	w.Response(nil)
	w.Again().End(Facts{})
	if w.Payload() {
		t.Error("a watch of nobody shows messages")
	}
}

func BenchmarkActive(b *testing.B) {
	taps := newTaps()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if set := taps.Active(); set != nil {
				b.Error("somebody taps")
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, call := range map[string]Call{
		"another service": {Side: Client, Peer: "emoji", Method: "/emoji.v1.Emoji/Find"},
		"too many":        {Side: Client, Peer: "voting", Method: "/voting.v1.Voting/Vote"},
	} {
		b.Run(name, func(b *testing.B) {
			set := open(newTaps(), resource.Tap{To: "voting", MaxRPS: 1})
			b.ReportAllocs()
			for b.Loop() {
				set.Match(call)
			}
		})
	}
}
