package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// A topModel is the live table of top (the Elm architecture, as bubbletea has it).
type topModel struct {
	ctx  context.Context //nolint:containedctx // the command's, for what runs beside the model
	look func(context.Context) ([]topRow, error)

	rows      []topRow
	problem   string
	fatal     error // why it never began
	loaded    bool
	order     int // of topOrders
	filter    string
	typing    bool
	paused    bool
	width     int
	height    int
	refreshed time.Time
}

type (
	topLoaded struct {
		rows []topRow
		err  error
		at   time.Time
	}
	topTick struct{}
)

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.load }

func (m *topModel) load() tea.Msg {
	rows, err := m.look(m.ctx)
	return topLoaded{rows, err, time.Now()}
}

// Update implements tea.Model.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topLoaded:
		return m, m.take(msg)
	case topTick:
		if m.paused {
			return m, tickTop()
		}
		return m, m.load
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

// take takes what was looked at. An xdsserver that goes away later is waited for.
func (m *topModel) take(msg topLoaded) tea.Cmd {
	m.problem = ""
	if msg.err != nil {
		if !m.loaded {
			m.fatal = msg.err
			return tea.Quit
		}
		m.problem = msg.err.Error()
		return tickTop()
	}
	m.loaded, m.rows, m.refreshed = true, msg.rows, msg.at
	return tickTop()
}

func tickTop() tea.Cmd { return tea.Tick(redrawEvery, func(time.Time) tea.Msg { return topTick{} }) }

func (m *topModel) press(key tea.KeyPressMsg) tea.Cmd {
	if m.typing {
		switch key.String() {
		case "enter":
			m.typing = false
		case "esc":
			m.typing, m.filter = false, ""
		case "backspace":
			if r := []rune(m.filter); len(r) > 0 {
				m.filter = string(r[:len(r)-1])
			}
		case "ctrl+c":
			return tea.Quit
		default:
			m.filter += key.Text
		}
		return nil
	}
	switch key.String() {
	case "q", "ctrl+c":
		return tea.Quit
	case "s":
		m.order = (m.order + 1) % len(topOrders)
	case "p":
		m.paused = !m.paused
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
	}
	return nil
}

// View implements tea.Model.
func (m *topModel) View() tea.View {
	v := tea.NewView(m.text())
	v.AltScreen = true
	return v
}

func (m *topModel) text() string {
	if !m.loaded {
		return "asking xdsserver ..."
	}
	rows := slices.Clone(m.rows)
	sortTop(rows, topOrders[m.order])
	if m.filter != "" {
		rows = slices.DeleteFunc(rows, func(r topRow) bool {
			return !strings.Contains(strings.ToLower(r.source+" "+r.destination+" "+r.method), strings.ToLower(m.filter))
		})
	}
	var b strings.Builder
	_ = printTop(&b, rows) // a strings.Builder takes everything
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if most := m.height - 2; most > 1 && len(lines) > most {
		lines = append(lines[:most-1], fmt.Sprintf("and %d more", len(lines)-most+1))
	}
	state := fmt.Sprintf("%s  by %s", m.refreshed.Format(time.TimeOnly), topOrders[m.order])
	if m.paused {
		state += "  paused"
	}
	if m.typing || m.filter != "" {
		state += "  /" + printable(m.filter)
	}
	if m.problem != "" {
		state = printable(m.problem)
	}
	lines = append([]string{state + "   s sort  / filter  p pause  q quit"}, lines...)
	for i, line := range lines {
		if r := []rune(line); m.width > 0 && len(r) > m.width {
			lines[i] = string(r[:m.width])
		}
	}
	return strings.Join(lines, "\n")
}
