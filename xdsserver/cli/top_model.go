package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// A topModel is the live table of top (the Elm architecture, as bubbletea has it).
type topModel struct {
	ctx  context.Context //nolint:containedctx // the command's, for what runs beside the model
	look func(context.Context) (*topPage, error)

	page      *topPage // nil until it is loaded
	refreshed time.Time
	problem   string
	fatal     error // why it never began

	order   int // of topOrders
	reverse bool
	filter  string
	typing  bool
	paused  bool
	help    bool
	first   int // row that is shown at the top

	width, height int
}

type (
	topLoaded struct {
		page *topPage
		err  error
		at   time.Time
	}
	topTick struct{}
)

var _ tea.Model = (*topModel)(nil)

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.load }

func (m *topModel) load() tea.Msg {
	page, err := m.look(m.ctx)
	return topLoaded{page, err, time.Now()}
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
		if m.typing {
			return m, m.typed(msg)
		}
		return m, m.press(msg.String())
	}
	return m, nil
}

// take takes what was looked at. An xdsserver that goes away later is waited for.
func (m *topModel) take(msg topLoaded) tea.Cmd {
	if msg.err != nil {
		if m.page == nil {
			m.fatal = msg.err
			return tea.Quit
		}
		m.problem = msg.err.Error()
		return tickTop()
	}
	if !m.paused { // it was while this was under way
		m.page, m.refreshed, m.problem = msg.page, msg.at, ""
	}
	return tickTop()
}

func tickTop() tea.Cmd { return tea.Tick(redrawEvery, func(time.Time) tea.Msg { return topTick{} }) }

// longestFilter is more than any screen is wide.
const longestFilter = 200

// typed is a key while the filter is written.
func (m *topModel) typed(key tea.KeyPressMsg) tea.Cmd {
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
		if len(m.filter)+len(key.Text) <= longestFilter {
			m.filter += key.Text
		}
	}
	return nil
}

func (m *topModel) press(key string) tea.Cmd {
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "?":
		m.help = !m.help
	case "s":
		m.order, m.reverse = (m.order+1)%len(topOrders), false
	case "p":
		m.paused = !m.paused
	case "/":
		m.typing, m.first = true, 0
	case "esc":
		m.filter, m.help = "", false
	case "down", "j":
		m.first++
	case "up", "k":
		m.first--
	case "pgdown", "space":
		m.first += m.room()
	case "pgup":
		m.first -= m.room()
	case "home", "g":
		m.first = 0
	default:
		if i := slices.IndexFunc(topOrders, func(o topOrder) bool { return o.key == key }); i >= 0 {
			m.reverse = i == m.order && !m.reverse
			m.order, m.first = i, 0
		}
	}
	m.first = max(0, min(m.first, len(m.chosen())-m.room()))
	return nil
}

// room is how many rows fit below the state and the header, above the keys.
func (m *topModel) room() int { return max(1, m.height-3) }

// chosen are the rows that the filter leaves, in order.
func (m *topModel) chosen() []topRow {
	if m.page == nil {
		return nil
	}
	rows := slices.Clone(m.page.rows)
	if f := strings.ToLower(m.filter); f != "" {
		rows = slices.DeleteFunc(rows, func(r topRow) bool {
			return !strings.Contains(strings.ToLower(r.source+" "+r.destination+" "+r.method), f)
		})
	}
	topOrders[m.order].sort(rows, m.reverse)
	return rows
}

// View implements tea.Model.
func (m *topModel) View() tea.View {
	v := tea.NewView(m.text())
	v.AltScreen = true
	v.WindowTitle = "xdsserver top"
	return v
}

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	// Colours of the terminal's own palette: red, yellow, green.
	bad, poor, good = lipgloss.NewStyle().Foreground(lipgloss.Red), lipgloss.NewStyle().Foreground(lipgloss.Yellow), lipgloss.NewStyle().Foreground(lipgloss.Green)
)

// bySuccess is how Linkerd's dashboard colours success.
func bySuccess(r topRow) lipgloss.Style {
	switch calls, failed := float64(r.golden.GetCalls()), float64(r.golden.GetFailures()); {
	case calls == 0:
		return faint
	case failed > 0.1*calls:
		return bad
	case failed > 0.05*calls:
		return poor
	}
	return good
}

func (m *topModel) text() string {
	if m.page == nil {
		return "asking xdsserver ..."
	}
	var lines []string
	if m.help {
		lines = append(m.helpText(), faint.Render("? back  q quit"))
	} else {
		lines = append([]string{m.state()}, m.table()...)
		lines = append(lines, faint.Render("s sort  / filter  p pause  ? help  q quit"))
	}
	if m.height > 0 && len(lines) > m.height {
		lines = lines[:m.height]
	}
	if m.width > 0 {
		cut := lipgloss.NewStyle().Inline(true).MaxWidth(m.width)
		for i, line := range lines {
			lines[i] = cut.Render(line)
		}
	}
	return strings.Join(lines, "\n")
}

// state is the line above the table.
func (m *topModel) state() string {
	if m.problem != "" {
		return bad.Render(printable(m.problem))
	}
	parts := []string{m.refreshed.Format(time.TimeOnly)}
	if m.page.service != "" {
		parts = append([]string{bold.Render(printable(m.page.service))}, parts...)
	}
	arrow := "↓"
	if m.reverse {
		arrow = "↑"
	}
	parts = append(parts, "by "+topOrders[m.order].name+arrow)
	if m.paused {
		parts = append(parts, bold.Render("paused"))
	}
	if m.typing || m.filter != "" {
		filter := "/" + printable(m.filter)
		if m.typing {
			filter += "█"
		}
		parts = append(parts, filter)
	}
	return strings.Join(parts, "  ")
}

// table are the lines of what is seen of the table.
func (m *topModel) table() []string {
	rows := m.chosen()
	if len(rows) == 0 {
		if len(m.page.rows) > 0 {
			return []string{"Nothing matches; esc shows all."}
		}
		return []string{"No calls in the window."}
	}
	first, more := m.first, 0
	if m.height > 0 {
		first = max(0, min(first, len(rows)-m.room()))
		if end := first + m.room(); end < len(rows) {
			end-- // for the line that says so
			more = len(rows) - end
			rows = rows[:end]
		}
	}
	shown := topPage{m.page.service, rows[min(first, len(rows)):]}
	c := shown.columns()
	success := slices.Index(c.header, "SUCCESS")
	c.style = func(row, column int, padded string) string {
		switch {
		case row < 0:
			return bold.Render(padded)
		case column == success:
			return bySuccess(shown.rows[row]).Render(padded)
		}
		return padded
	}
	lines := c.lines()
	if more > 0 {
		lines = append(lines, faint.Render(fmt.Sprintf("and %d more below", more)))
	}
	return lines
}

// helpText are the keys.
func (m *topModel) helpText() []string {
	keys := make([][2]string, 0, 16)
	for _, o := range topOrders {
		keys = append(keys, [2]string{o.key, "sort by " + o.name + "; again turns it around"})
	}
	keys = append(keys, [][2]string{
		{"s", "sort by the next of these"},
		{"/", "filter by source, destination or method; esc shows all"},
		{"p", "pause, and go on"},
		{"up, down", "move, as pgup, pgdown and home"},
		{"q", "quit"},
	}...)
	lines := make([]string, 0, len(keys)+2)
	lines = append(lines, bold.Render("xdsserver top"), "")
	for _, k := range keys {
		lines = append(lines, fmt.Sprintf("%-10s %s", k[0], k[1]))
	}
	return lines
}
