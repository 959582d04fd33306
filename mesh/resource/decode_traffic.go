package resource

import (
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// decodeNamedTraffic reads a route's own policy, which must have its name.
func decodeNamedTraffic(name string, config *anypb.Any) (*Traffic, error) {
	if name != TrafficFilter {
		return nil, bad("", "%q: a Traffic must be named %q", name, TrafficFilter)
	}
	var m xdsv3.OwnTraffic
	if err := unmarshal(config.GetValue(), &m); err != nil {
		return nil, bad("", "%q: %v", name, err)
	}
	t, err := decodeTraffic(&m)
	return t, under(fmt.Sprintf("[%q]", name), err)
}

func decodeTraffic(m *xdsv3.OwnTraffic) (*Traffic, error) {
	var r reading
	t := &Traffic{Budget: DefaultRetryBudget(), HashHeader: m.GetHashHeader()}
	var err error
	t.Retry, err = decodeOwnRetry(m.GetRetry())
	r.keep(under("retry", err))
	if b := m.GetRetryBudget(); b != nil {
		d := t.Budget
		t.Budget = RetryBudget{
			Percent:      r.exact("retry_budget.percent", b.Percent, d.Percent, 100),
			MinPerSecond: r.exact("retry_budget.min_per_second", b.MinPerSecond, d.MinPerSecond, maxPerSecond),
			Window:       r.duration("retry_budget.window", b.GetWindow(), d.Window, minInterval),
		}
	}
	if h := m.GetHedge(); h != nil {
		t.Hedge = &Hedge{
			Delay:    r.duration("hedge.delay", h.GetDelay(), 0, 0),
			Quantile: r.number("hedge.quantile", h.GetQuantile(), 0.95, 0.001, 0.9999),
			Attempts: r.count("hedge.attempts", h.GetAttempts(), 2, 2, MaxAttempts),
		}
	}
	r.keep(t.mirrors(m.GetMirrors()))
	if m.GetHeaders() != nil {
		t.Headers, err = decodeHeaders(m.GetHeaders())
		r.keep(under("headers", err))
	}
	if m.GetRateLimit() != nil {
		rate, err := decodeRate(m.GetRateLimit())
		r.keep(under("rate_limit", err))
		t.RateLimit = &rate
	}
	if m.GetBreaker() != nil {
		t.Breaker, err = decodeBreaker(m.GetBreaker())
		r.keep(under("breaker", err))
	}
	t.IdleTimeout = r.duration("idle_timeout", m.GetIdleTimeout(), 0, 0)
	t.HopCost = r.duration("hop_cost", m.GetHopCost(), 0, 0)
	if t.HashHeader != "" {
		r.readable("hash_header", t.HashHeader)
	}
	if r.err != nil {
		return nil, r.err
	}
	return t, nil
}

func (t *Traffic) mirrors(list []*xdsv3.OwnMirror) error {
	var r reading
	r.length("mirrors", len(list), maxMirrors)
	for i, m := range list {
		var each reading
		if m.GetCluster() == "" {
			each.fail("cluster", "is empty")
		}
		t.Mirrors = append(t.Mirrors, Mirror{
			Cluster:    m.GetCluster(),
			PerMillion: each.count("per_million", m.GetPerMillion(), 0, 1, million),
			Timeout:    each.duration("timeout", m.GetTimeout(), time.Second, aboveZero),
		})
		r.keep(at("mirrors", i, each.err))
	}
	return r.err
}

// decodeRate reads a rate; m may be nil, which is none.
func decodeRate(m *xdsv3.OwnRate) (Rate, error) {
	var r reading
	perSecond := r.number("per_second", m.GetPerSecond(), 0, 0, maxPerSecond)
	if perSecond == 0 {
		r.fail("per_second", "must be above zero")
	}
	if r.err != nil {
		return Rate{}, r.err
	}
	second := uint32(max(1, math.Ceil(perSecond)))
	return Rate{PerSecond: perSecond, Burst: r.count("burst", m.GetBurst(), second, 1, maxPerSecond)}, r.err
}

// decodeHeaders returns nil where nothing is changed.
func decodeHeaders(m *xdsv3.OwnHeaders) (*Headers, error) {
	n := len(m.GetSet()) + len(m.GetAdd()) + len(m.GetRemove())
	if n == 0 {
		return nil, nil
	}
	var r reading
	r.length("", n, maxChanges)
	h := &Headers{Remove: m.GetRemove()}
	for i, name := range h.Remove {
		var each reading
		each.token("", name)
		each.changeable("", name)
		r.keep(at("remove", i, each.err))
	}
	var err error
	h.Set, err = decodeHeaderValues("set", m.GetSet())
	r.keep(err)
	h.Add, err = decodeHeaderValues("add", m.GetAdd())
	r.keep(err)
	return h, r.err
}

func decodeHeaderValues(field string, list []*xdsv3.OwnHeader) ([]HeaderValue, error) {
	var out []HeaderValue
	for i, m := range list {
		var r reading
		name := m.GetName()
		r.token("name", name)
		r.changeable("name", name)
		if strings.HasSuffix(name, "-bin") {
			r.fail("name", "%q is of binary values, which a configuration cannot write", name)
		}
		r.text("value", m.GetValue())
		if r.err != nil {
			return nil, at(field, i, r.err)
		}
		out = append(out, HeaderValue{Name: name, Value: m.GetValue()})
	}
	return out, nil
}

// changeable refuses the headers that are gRPC's own: it ignores what is asked of
// them, or breaks.
func (r *reading) changeable(field, name string) {
	if strings.HasPrefix(name, "grpc-") || unmatchable[name] || name == "content-type" || name == "user-agent" {
		r.fail(field, "%q is gRPC's own, and is not to be changed", name)
	}
}

// text reads the value of a header: printable ASCII (gRPC over HTTP/2), without
// spaces at its ends (RFC 9113 section 8.2.1).
func (r *reading) text(field, value string) {
	if len(value) > maxHeaderValue {
		r.fail(field, "has %d bytes, at most %d are accepted", len(value), maxHeaderValue)
		return
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			r.fail(field, "%q is not of printable ASCII alone", value)
			return
		}
	}
	if strings.Trim(value, " ") != value {
		r.fail(field, "%q has spaces at its ends, which would be lost", value)
	}
}
