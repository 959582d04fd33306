package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// topShown is a model that has loaded rows, on a screen of 100 by 20.
func topShown(t *testing.T, rows ...topRow) *topModel {
	t.Helper()
	m := &topModel{ctx: t.Context(), look: func(context.Context) (*topPage, error) { return &topPage{rows: rows}, nil }}
	m.Update(tea.WindowSizeMsg{Width: 100, Height: 20})
	m.Update(m.Init()())
	return m
}

var named = map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "backspace": tea.KeyBackspace, "down": tea.KeyDown, "pgdown": tea.KeyPgDown}

func pressed(m *topModel, keys ...string) tea.Cmd {
	var cmd tea.Cmd
	for _, k := range keys {
		key := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		if code, ok := named[k]; ok {
			key = tea.KeyPressMsg{Code: code}
		}
		_, cmd = m.Update(key)
	}
	return cmd
}

var style = regexp.MustCompile("\x1b\\[[0-9;]*m")

// plain is what is seen, without its colours.
func plain(m *topModel) string { return style.ReplaceAllString(m.View().Content, "") }

func before(text, a, b string) bool {
	i, j := strings.Index(text, a), strings.Index(text, b)
	return i >= 0 && j >= 0 && i < j
}

func TestTopSortsFiltersAndPauses(t *testing.T) {
	busy := topRow{"web", "busy", "*", &adminv1.Golden{Calls: 100, Rps: 100, P50Ms: 1, P99Ms: 1, Timed: true}}
	slow := topRow{"web", "slow", "*", &adminv1.Golden{Calls: 10, Failures: 5, Rps: 1, P50Ms: 200, P99Ms: 900, Timed: true}}
	for _, test := range []struct {
		name  string
		keys  []string
		first string // of the two; the other comes later, or not at all
		want  []string
	}{
		{"the busiest is first", nil, "busy", []string{"by rps↓"}},
		{"s sorts by the next", []string{"s"}, "slow", []string{"by failures↓"}},
		{"a key sorts by its column", []string{"t"}, "slow", []string{"by p99↓"}},
		{"again it turns it around", []string{"t", "t"}, "busy", []string{"by p99↑"}},
		{"a third time, too", []string{"t", "t", "t"}, "slow", []string{"by p99↓"}},
		{"by name", []string{"n"}, "busy", []string{"by name↓"}},
		{"the filter is written", []string{"/", "s", "l"}, "slow", []string{"/sl█"}},
		{"and left", []string{"/", "s", "l", "x", "backspace", "enter"}, "slow", []string{"/sl"}},
		{"and taken away", []string{"/", "s", "enter", "esc"}, "busy", nil},
		{"nothing matches", []string{"/", "x", "y"}, "", []string{"Nothing matches"}},
		{"it pauses", []string{"p"}, "busy", []string{"paused"}},
		{"help shows the keys", []string{"?"}, "", []string{"sort by p99", "quit"}},
		{"and goes away", []string{"?", "?"}, "busy", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := topShown(t, slow, busy)
			pressed(m, test.keys...)
			text := plain(m)
			other := map[string]string{"slow": "busy", "busy": "slow", "": ""}[test.first]
			if test.first == "" && (strings.Contains(text, "slow") || strings.Contains(text, "busy")) ||
				test.first != "" && strings.Contains(text, other) && !before(text, test.first, other) || !strings.Contains(text, test.first) {
				t.Errorf("%q is not first:\n%s", test.first, text)
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
	for _, key := range []string{"q", "?"} { // also from the help
		m := topShown(t, slow)
		pressed(m, key)
		if cmd := pressed(m, "q"); cmd == nil || cmd() != tea.Quit() {
			t.Error("q does not end it")
		}
	}
}

func TestTopShowsWhatIsNewUnlessItPauses(t *testing.T) {
	old, fresh := topRow{"web", "old", "*", &adminv1.Golden{Calls: 1}}, &topPage{service: "voting", rows: []topRow{{"*", "voting", "/a.B/Fresh", &adminv1.Golden{Calls: 7}}}}
	m := topShown(t, old)
	pressed(m, "p")
	m.Update(topLoaded{page: fresh})
	if text := plain(m); !strings.Contains(text, "old") {
		t.Errorf("it did not pause:\n%s", text)
	}
	if _, cmd := m.Update(topTick{}); cmd == nil {
		t.Error("it will never go on")
	}
	pressed(m, "p")
	if _, cmd := m.Update(topTick{}); cmd == nil {
		t.Error("it does not look again")
	}
	m.Update(topLoaded{page: fresh, at: time.Now()})
	if text := plain(m); !strings.Contains(text, "voting") || !strings.Contains(text, "METHOD") || !strings.Contains(text, "/a.B/Fresh") {
		t.Errorf("it does not show what is new:\n%s", text)
	}
}

func TestTopOutlivesXdsserverAndItsScreen(t *testing.T) {
	rows := make([]topRow, 50)
	for i := range rows {
		rows[i] = topRow{"web\x1b[2J\u202e", "\u6f22\u5b57", strings.Repeat("x", 300), &adminv1.Golden{Calls: 1, Rps: float64(100 - i), P50Ms: float64(i), Timed: true}}
		rows[i].destination += fmt.Sprintf("-%02d-", i) + strings.Repeat("\u5b57", 60)
	}
	m := topShown(t, rows...)
	m.Update(topLoaded{err: errors.New("xdsserver is\x1b[2J away")})
	for range 40 {
		text := m.View().Content
		seen := style.ReplaceAllString(text, "")
		if !strings.Contains(seen, "xdsserver is?[2J away") || strings.ContainsAny(seen, "\x1b\u202e") {
			t.Fatalf("%q", text)
		}
		lines := strings.Split(text, "\n")
		if len(lines) > 20 {
			t.Fatalf("%d lines on a screen of 20", len(lines))
		}
		for _, l := range lines {
			if lipgloss.Width(l) > 100 {
				t.Fatalf("a line of %d on a screen of 100: %q", lipgloss.Width(l), l)
			}
		}
		pressed(m, "down")
	}
	if text := plain(m); !strings.Contains(text, "-49-") || strings.Contains(text, "more below") {
		t.Errorf("the last row is out of reach:\n%s", text)
	}
	pressed(m, "g")
	if text := plain(m); !strings.Contains(text, "-00-") || !strings.Contains(text, "and 34 more below") {
		t.Errorf("the first row is out of reach:\n%s", text)
	}
	for _, size := range [][2]int{{1, 1}, {5, 2}, {3, 3}, {0, 0}} {
		m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		pressed(m, "pgdown", "?", "?")
		if n := len(strings.Split(plain(m), "\n")); size[1] > 0 && n > size[1] {
			t.Errorf("%d lines on a screen of %d", n, size[1])
		}
	}
}

func TestTopEndsWhereNobodyAnswersAtFirst(t *testing.T) {
	nobody := errors.New("nobody")
	m := &topModel{ctx: t.Context(), look: func(context.Context) (*topPage, error) { return nil, nobody }}
	if text := plain(m); text != "asking xdsserver ..." {
		t.Errorf("at first: %q", text)
	}
	if _, cmd := m.Update(m.Init()()); cmd == nil || !errors.Is(m.fatal, nobody) {
		t.Error("it goes on")
	}
}
