package resource

import (
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	commandv1 "github.com/tulle-mesh/tulle/mesh/api/command/v1"
)

// DecodeCommands decodes and validates the bytes of a Commands message. The error is a
// *[DecodeError].
func DecodeCommands(value []byte) (*Commands, error) {
	var m commandv1.Commands
	// A command of which part is not understood is not carried out in part: a tap would
	// show more than was asked for.
	if len(value) > maxSize {
		return nil, refuse(CommandsType, "", bad("", "has %d bytes, at most %d are accepted", len(value), maxSize))
	}
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, refuse(CommandsType, "", err)
	}
	c, err := decodeCommands(&m)
	if err != nil {
		return nil, refuse(CommandsType, CommandsName(m.GetService()), err)
	}
	return c, nil
}

func decodeCommands(m *commandv1.Commands) (*Commands, error) {
	c := &Commands{Service: m.GetService()}
	if c.Service == "" || len(c.Service) > maxCommandText || strings.ContainsAny(c.Service, "/ ") {
		return nil, bad("service", "%.80q is no service", c.Service)
	}
	if err := knownCommand(m); err != nil {
		return nil, err
	}
	if n := len(m.GetTaps()); n > maxTaps {
		return nil, bad("taps", "are %d, at most %d are accepted", n, maxTaps)
	}
	seen := map[string]bool{}
	for i, t := range m.GetTaps() {
		tap, err := decodeTap(t)
		if err == nil && seen[tap.ID] {
			err = bad("id", "%q is that of an earlier tap", tap.ID)
		}
		if err != nil {
			return nil, at("taps", i, err)
		}
		seen[tap.ID] = true
		c.Taps = append(c.Taps, tap)
	}
	if m.GetLog() == nil {
		return c, nil
	}
	var err error
	c.Log, err = decodeLog(m.GetLog())
	return c, under("log", err)
}

func decodeTap(m *commandv1.Tap) (Tap, error) {
	t := Tap{
		ID: m.GetId(), Instance: m.GetInstance(), To: m.GetTo(), From: m.GetFrom(), Method: m.GetMethod(),
		Metadata: m.GetMetadata(), Failures: m.GetFailures(), MaxRPS: m.GetMaxRps(), Payload: m.GetPayload(), Redact: m.GetRedact(),
	}
	if err := knownCommand(m); err != nil {
		return t, err
	}
	for _, text := range []struct{ field, value string }{
		{"id", t.ID}, {"instance", t.Instance}, {"to", t.To}, {"from", t.From}, {"method", t.Method},
	} {
		if err := commandText(text.value); err != nil {
			return t, under(text.field, err)
		}
	}
	switch {
	case t.ID == "":
		return t, bad("id", "is empty")
	case !(t.MaxRPS > 0 && t.MaxRPS <= maxTapRate): // also what is no number
		return t, bad("max_rps", "is %v, want more than 0 and at most %v", t.MaxRPS, maxTapRate)
	case len(t.Metadata) > maxHeaders:
		return t, bad("metadata", "has %d entries, at most %d are accepted", len(t.Metadata), maxHeaders)
	case len(t.Redact) > maxRedacted:
		return t, bad("redact", "has %d entries, at most %d are accepted", len(t.Redact), maxRedacted)
	}
	for key, value := range t.Metadata {
		switch {
		case key == "" || commandText(key) != nil || commandText(value) != nil:
			return t, bad("metadata", "%.80q: %.80q is no metadata", key, value)
		case SecretKey(key):
			// Who watches which calls have it would find it out.
			return t, bad("metadata", "%q is a secret's key, which is not looked for", key)
		}
	}
	for i, name := range t.Redact {
		if name == "" || commandText(name) != nil {
			return t, at("redact", i, bad("", "%.80q is no name", name))
		}
	}
	var err error
	t.Until, err = until(m.GetUntil())
	return t, under("until", err)
}

func decodeLog(m *commandv1.Log) (*LogCommand, error) {
	l := &LogCommand{Instance: m.GetInstance(), Access: m.GetAccess()}
	if err := knownCommand(m); err != nil {
		return nil, err
	}
	if err := commandText(l.Instance); err != nil {
		return nil, under("instance", err)
	}
	if !(l.Access >= 0 && l.Access <= 1) { // also what is no number
		return nil, bad("access", "is %v, want 0 to 1", l.Access)
	}
	if m.GetLevel() != "" {
		level, ok := LogLevel(m.GetLevel())
		if !ok {
			return nil, bad("level", "%.80q is no level, want debug, info, warn or error", m.GetLevel())
		}
		l.Level, l.HasLevel = level, true
	}
	var err error
	l.Until, err = until(m.GetUntil())
	return l, under("until", err)
}

// LogLevel returns the level that is called debug, info, warn or error; ok is false for
// other names.
func LogLevel(name string) (level slog.Level, ok bool) {
	switch name {
	case "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	}
	return 0, false
}

// commandText checks text of a command.
func commandText(s string) error {
	if len(s) > maxCommandText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return bad("", "%.80q is longer than %d bytes, or no text", s, maxCommandText)
	}
	return nil
}

// until is required: a command without an end would go on where xdsserver is gone.
func until(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, bad("", "is not set")
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, bad("", "is no valid time")
	}
	return t.AsTime(), nil
}
