package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func topOf(t *testing.T, rows ...topRow) *topModel {
	t.Helper()
	m := &topModel{ctx: t.Context(), look: func(context.Context) ([]topRow, error) { return rows, nil }}
	m.Update(tea.WindowSizeMsg{Width: 100, Height: 20})
	m.Update(topLoaded{rows: rows, at: time.Now()})
	return m
}

func pressed(m *topModel, keys ...string) {
	for _, k := range keys {
		key := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		switch k {
		case "enter":
			key = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			key = tea.KeyPressMsg{Code: tea.KeyEscape}
		}
		m.Update(key)
	}
}

func before(text, a, b string) bool {
	i, j := strings.Index(text, a), strings.Index(text, b)
	return i >= 0 && j >= 0 && i < j
}

func TestTopSortsFiltersAndPauses(t *testing.T) {
	busy := topRow{"web", "busy", "*", &adminv1.Golden{Calls: 100, Rps: 100, P99Ms: 1, Timed: true}}
	slow := topRow{"web", "slow", "*", &adminv1.Golden{Calls: 10, Failures: 5, Rps: 1, P99Ms: 900, Timed: true}}
	m := topOf(t, slow, busy)
	if text := m.text(); !before(text, "busy", "slow") {
		t.Errorf("by rps:\n%s", text)
	}
	pressed(m, "s")
	if text := m.text(); !before(text, "slow", "busy") || !strings.Contains(text, "by failures") {
		t.Errorf("by failures:\n%s", text)
	}
	pressed(m, "/", "b", "u")
	if text := m.text(); strings.Contains(text, "slow") || !strings.Contains(text, "/bu") {
		t.Errorf("filtered:\n%s", text)
	}
	pressed(m, "esc", "p")
	if text := m.text(); !strings.Contains(text, "slow") || !strings.Contains(text, "paused") {
		t.Errorf("paused:\n%s", text)
	}
	if _, cmd := m.Update(tea.KeyPressMsg{Text: "q", Code: 'q'}); cmd == nil {
		t.Error("q does not end it")
	}
}

func TestTopOutlivesXdsserverAndItsScreen(t *testing.T) {
	rows := make([]topRow, 50)
	for i := range rows {
		rows[i] = topRow{"web\x1b[2J", "voting", strings.Repeat("x", 300), &adminv1.Golden{Calls: 1, Rps: 1}}
	}
	m := topOf(t, rows...)
	m.Update(topLoaded{err: errors.New("xdsserver is away")})
	text := m.text()
	if !strings.Contains(text, "xdsserver is away") || !strings.Contains(text, "more") || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
	lines := strings.Split(text, "\n")
	if len(lines) > 20 {
		t.Errorf("%d lines on a screen of 20", len(lines))
	}
	for _, l := range lines {
		if len([]rune(l)) > 100 {
			t.Errorf("a line of %d on a screen of 100", len([]rune(l)))
		}
	}
}

func TestTopEndsWhereNobodyAnswersAtFirst(t *testing.T) {
	m := &topModel{ctx: t.Context()}
	_, cmd := m.Update(topLoaded{err: errors.New("nobody")})
	if cmd == nil || m.fatal == nil {
		t.Error("it goes on")
	}
}
