package resource_test

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	commandv1 "github.com/tulle-mesh/tulle/mesh/api/command/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

var later = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func randomCommands(r *rand.Rand) *commandv1.Commands {
	c := &commandv1.Commands{Service: pick(r, []string{"web", "web.shop", ""})}
	for range r.IntN(3) {
		c.Taps = append(c.Taps, &commandv1.Tap{
			Id: pick(r, []string{"a", "b"}), To: pick(r, []string{"", "voting", "*"}), Method: pick(r, []string{"", "Vote"}),
			Metadata: pick(r, []map[string]string{nil, {"x-user": "ada"}}), MaxRps: r.Float64() * 100, Payload: r.IntN(2) == 0,
			Redact: pick(r, [][]string{nil, {"shop.v1.Card.number"}}), Until: timestamppb.New(later),
		})
	}
	if r.IntN(2) == 0 {
		c.Log = &commandv1.Log{Level: pick(r, []string{"", "debug", "loud"}), Access: r.Float64(), Until: timestamppb.New(later)}
	}
	return c
}

// checkCommands checks that what is accepted holds what the values' comments say.
func checkCommands(t *testing.T, c *resource.Commands) {
	t.Helper()
	seen := map[string]bool{}
	for _, tap := range c.Taps {
		if tap.ID == "" || seen[tap.ID] || !(tap.MaxRPS > 0 && tap.MaxRPS <= 1000) || tap.Until.IsZero() {
			t.Errorf("accepted %+v", tap)
		}
		seen[tap.ID] = true
	}
	if c.Service == "" || len(c.Taps) > 4 || c.Log != nil && !(c.Log.Access >= 0 && c.Log.Access <= 1) {
		t.Errorf("accepted %+v", c)
	}
}

func TestCommandsAreDecoded(t *testing.T) {
	got, err := resource.Decode(resource.CommandsType, encode(t, &commandv1.Commands{
		Service: "web",
		Taps: []*commandv1.Tap{{
			Id: "t1", Instance: "a1", To: "voting", From: "*", Method: "Vote", Metadata: map[string]string{"x-user": "ada"},
			Failures: true, MaxRps: 50, Payload: true, Redact: []string{"password"}, Until: timestamppb.New(later),
		}},
		Log: &commandv1.Log{Instance: "a2", Level: "debug", Access: 0.1, Until: timestamppb.New(later)},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &resource.Commands{
		Service: "web",
		Taps: []resource.Tap{{
			ID: "t1", Instance: "a1", To: "voting", From: "*", Method: "Vote", Metadata: map[string]string{"x-user": "ada"},
			Failures: true, MaxRPS: 50, Payload: true, Redact: []string{"password"}, Until: later,
		}},
		Log: &resource.LogCommand{Instance: "a2", Level: slog.LevelDebug, HasLevel: true, Access: 0.1, Until: later},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if name := got.ResourceName(); name != "tulle/server/web/commands" {
		t.Errorf("named %q", name)
	}
	if owner, ok := resource.Owner(got.ResourceName()); owner != "web" || !ok {
		t.Errorf("it is %q's", owner)
	}
}

func TestCommandsAreRefused(t *testing.T) {
	tap := func(change func(*commandv1.Tap)) *commandv1.Commands {
		m := &commandv1.Tap{Id: "t1", MaxRps: 1, Until: timestamppb.New(later)}
		change(m)
		return &commandv1.Commands{Service: "web", Taps: []*commandv1.Tap{m}}
	}
	log := func(m *commandv1.Log) *commandv1.Commands { return &commandv1.Commands{Service: "web", Log: m} }
	five := tap(func(*commandv1.Tap) {})
	for range 4 {
		five.Taps = append(five.Taps, five.GetTaps()[0])
	}
	twice := tap(func(*commandv1.Tap) {})
	twice.Taps = append(twice.Taps, twice.GetTaps()[0])
	newer := tap(func(m *commandv1.Tap) {
		m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	})
	for name, test := range map[string]struct {
		m    *commandv1.Commands
		want string
	}{
		"of nobody":                       {&commandv1.Commands{}, "service: \"\" is no service"},
		"of what is no service":           {&commandv1.Commands{Service: "web/other"}, "is no service"},
		"five taps":                       {five, "at most 4"},
		"an id twice":                     {twice, "taps[1].id"},
		"no id":                           {tap(func(m *commandv1.Tap) { m.Id = "" }), "taps[0].id: is empty"},
		"a rate of nothing":               {tap(func(m *commandv1.Tap) { m.MaxRps = 0 }), "taps[0].max_rps"},
		"a rate that is no number":        {tap(func(m *commandv1.Tap) { m.MaxRps = math.NaN() }), "taps[0].max_rps"},
		"too high a rate":                 {tap(func(m *commandv1.Tap) { m.MaxRps = 1001 }), "taps[0].max_rps"},
		"no end":                          {tap(func(m *commandv1.Tap) { m.Until = nil }), "taps[0].until: is not set"},
		"an end that is no time":          {tap(func(m *commandv1.Tap) { m.Until = &timestamppb.Timestamp{Nanos: -1} }), "no valid time"},
		"a service that moves":            {tap(func(m *commandv1.Tap) { m.To = "a\x1b[2J" }), "taps[0].to"},
		"a long method":                   {tap(func(m *commandv1.Tap) { m.Method = strings.Repeat("m", 513) }), "taps[0].method"},
		"a secret that is looked for":     {tap(func(m *commandv1.Tap) { m.Metadata = map[string]string{"Authorization": "x"} }), "a secret's key"},
		"metadata without a key":          {tap(func(m *commandv1.Tap) { m.Metadata = map[string]string{"": "x"} }), "is no metadata"},
		"a field without a name":          {tap(func(m *commandv1.Tap) { m.Redact = []string{"a", ""} }), "redact[1]"},
		"a field of a newer version":      {newer, "taps[0]: has a field that is not known"},
		"a level that is none":            {log(&commandv1.Log{Level: "loud", Until: timestamppb.New(later)}), "log.level"},
		"a share of more than all":        {log(&commandv1.Log{Access: 1.1, Until: timestamppb.New(later)}), "log.access"},
		"a share that is no number":       {log(&commandv1.Log{Access: math.NaN(), Until: timestamppb.New(later)}), "log.access"},
		"a level for ever":                {log(&commandv1.Log{Level: "debug"}), "log.until"},
		"an instance that is no instance": {log(&commandv1.Log{Instance: "a\n", Until: timestamppb.New(later)}), "log.instance"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resource.DecodeCommands(encode(t, test.m))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestKeysOfSecrets(t *testing.T) {
	for key, want := range map[string]bool{
		"authorization": true, "Proxy-Authorization": true, "cookie": true, "set-cookie": true, "x-auth-token": true, "x-api-key": true,
		"client-secret": true, "x-password-hint": true, "authorization-bin": true, "x-session-id": true, "id_token": true, "x-jwt": true,
		"grpc-trace-bin": false, "traceparent": false, "user-agent": false, "x-request-id": false, "keyboard": false, "tokens-left": false, "": false,
	} {
		if got := resource.SecretKey(key); got != want {
			t.Errorf("%q: got %v", key, got)
		}
	}
}
