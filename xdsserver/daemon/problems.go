package daemon

import (
	"log/slog"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// mostTold bounds the lines about one publication; check lists the rest.
const mostTold = 20

// tell logs what is wrong now and was not before, and when nothing is any more.
// Warnings are left to check: one about a version that nobody runs comes and goes
// with each endpoint.
func tell(logger *slog.Logger, before, now []model.Problem) {
	known := make(map[model.Problem]bool, len(before))
	wasWrong, isWrong := false, false
	for _, p := range before {
		p.Instead = nil // made anew each time
		known[p] = true
		wasWrong = wasWrong || !p.Warning
	}
	told := 0
	for _, p := range now {
		p.Instead = nil
		if p.Warning {
			continue
		}
		isWrong = true
		if known[p] {
			continue
		}
		if told++; told <= mostTold {
			logger.Warn("configuration is not served as it is written", attributes(p)...)
		}
	}
	if told > mostTold {
		logger.Warn("more of the configuration is not served as it is written: 'xdsserver check' lists all", "more", told-mostTold)
	}
	if wasWrong && !isWrong {
		logger.Info("configuration is served as it is written again")
	}
}

// attributes are the facts of a problem, those that it has.
func attributes(p model.Problem) []any {
	attrs := []any{"where", p.From}
	if p.Object != (model.Ref{}) {
		attrs = append(attrs, "object", p.Object.String())
	}
	if p.Field != "" {
		attrs = append(attrs, "field", p.Field)
	}
	return append(attrs, "problem", p.Message)
}
