package mesh

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestTheLevelIsWhatTheOperatorAsksFor(t *testing.T) {
	ask := func(l slog.Level) *resource.LogCommand { return &resource.LogCommand{Level: l, HasLevel: true} }
	for _, tt := range []struct {
		name  string
		asked *resource.LogCommand
		want  string
	}{
		{"as the logger was made", nil, "WARN ERROR"},
		{"a command that says nothing of it changes nothing", &resource.LogCommand{Access: 1}, "WARN ERROR"},
		{"less than the logger leaves out", ask(slog.LevelDebug), "DEBUG INFO WARN ERROR"},
		{"more", ask(slog.LevelError), "ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			own := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
			var l level
			for name, logger := range map[string]*slog.Logger{
				"plain": l.logger(own), "with attributes": l.logger(own).With("a", 1), "in a group": l.logger(own).WithGroup("g").With("a", 1),
			} {
				for _, before := range []*resource.LogCommand{ask(slog.LevelInfo), nil} {
					l.set(before)
					l.set(tt.asked)
					for _, at := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
						logger.Log(context.Background(), at, "said")
					}
					var got []string
					for line := range strings.Lines(out.String()) {
						got = append(got, strings.TrimPrefix(strings.Fields(line)[0], "level="))
					}
					if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
					out.Reset()
				}
			}
		})
	}
}

func TestEverythingIsWritten(t *testing.T) {
	var out strings.Builder
	everything(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}))).With("a", 1).Info("said")
	if !strings.Contains(out.String(), "said a=1") {
		t.Errorf("written: %q", out.String())
	}
}
