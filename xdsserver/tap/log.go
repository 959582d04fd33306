package tap

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// maxLog is how long processes may be told to log.
const maxLog = 24 * time.Hour

// A LogRequest says what the processes of a service log of the mesh. It replaces an
// earlier one of the service.
type LogRequest struct {
	Service  model.ServiceName
	Instance string
	// Level is "debug", "info", "warn", "error", or empty to leave it to the process.
	Level string
	// Access is the share of calls to log, 0 to 1.
	Access float64
	// Duration is at most 24 h; zero ends what was asked for before.
	Duration time.Duration
	By       string
}

type logOrder struct {
	command model.LogCommand // immutable
	by      string
}

func (l *logOrder) what() string {
	level := l.command.Level
	if level == "" {
		level = "as before"
	}
	return fmt.Sprintf("level %s, access %s", level, strconv.FormatFloat(l.command.Access, 'g', 4, 64))
}

// SetLog takes a log command, and returns when it ends and how many processes it
// reaches. The error is a *[RequestError] or wraps [ErrFull].
func (h *Hub) SetLog(r LogRequest) (until time.Time, processes int, err error) {
	_, isLevel := resource.LogLevel(r.Level)
	switch {
	case r.Level != "" && !isLevel:
		return until, 0, &RequestError{"level", fmt.Sprintf("is %.40q: want debug, info, warn or error", r.Level)}
	case math.IsNaN(r.Access) || r.Access < 0 || r.Access > 1:
		return until, 0, &RequestError{"access", fmt.Sprintf("is %v: want a share from 0 to 1", r.Access)}
	case r.Duration < 0 || r.Duration > maxLog:
		return until, 0, &RequestError{"duration", fmt.Sprintf("is %v: want at most %v", r.Duration, maxLog)}
	case bad(r.Instance):
		return until, 0, &RequestError{"instance", fmt.Sprintf("is %.80q: want at most %d bytes of plain text", r.Instance, maxText)}
	}
	_, processes = h.config.Processes(r.Service.String(), r.Instance, math.MaxUint64)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.room(r.Service); err != nil {
		return until, 0, err
	}
	until = time.Now().Add(r.Duration)
	delete(h.logs, r.Service)
	if r.Duration > 0 {
		h.logs[r.Service] = &logOrder{
			command: model.LogCommand{Instance: r.Instance, Level: r.Level, Access: r.Access, Until: until}, by: r.By,
		}
	}
	h.compose(r.Service)
	return until, processes, nil
}
