package resource

import (
	"cmp"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// decodeNamedAdmission reads which calls a server takes; it must have its name.
func decodeNamedAdmission(name string, config *anypb.Any) (*Admission, error) {
	if name != AdmissionFilter {
		return nil, bad("", "%q: an Admission must be named %q", name, AdmissionFilter)
	}
	var m xdsv3.OwnAdmission
	if err := unmarshal(config.GetValue(), &m); err != nil {
		return nil, bad("", "%q: %v", name, err)
	}
	a, err := decodeAdmission(&m)
	return a, under(fmt.Sprintf("[%q]", name), err)
}

func decodeAdmission(m *xdsv3.OwnAdmission) (*Admission, error) {
	var r reading
	a := &Admission{}
	r.length("rate_limits", len(m.GetRateLimits()), maxRateLimits)
	names := make(map[string]bool, len(m.GetRateLimits()))
	for i, limit := range m.GetRateLimits() {
		if r.err != nil {
			return nil, r.err
		}
		l, err := decodeRateLimit(limit)
		if err == nil && names[l.Name] {
			err = bad("name", "%q is taken by another limit", l.Name)
		}
		r.keep(at("rate_limits", i, err))
		names[l.Name] = true
		a.RateLimits = append(a.RateLimits, l)
	}
	var err error
	if m.GetConcurrency() != nil {
		a.Concurrency, err = decodeConcurrency(m.GetConcurrency())
		r.keep(under("concurrency", err))
	}
	if m.GetFault() != nil {
		a.Fault, err = decodeOwnFault(m.GetFault())
		r.keep(under("fault", err))
	}
	if r.err != nil {
		return nil, r.err
	}
	return a, nil
}

var ratePers = map[xdsv3.OwnRateLimit_Per]RatePer{
	xdsv3.OwnRateLimit_PER_UNSPECIFIED: PerTotal,
	xdsv3.OwnRateLimit_PER_TOTAL:       PerTotal,
	xdsv3.OwnRateLimit_PER_IDENTITY:    PerIdentity,
	xdsv3.OwnRateLimit_PER_METHOD:      PerMethod,
	xdsv3.OwnRateLimit_PER_METADATA:    PerMetadata,
}

func decodeRateLimit(m *xdsv3.OwnRateLimit) (RateLimit, error) {
	var r reading
	l := RateLimit{Name: m.GetName(), MetadataKey: m.GetMetadataKey(), Methods: m.GetMethods(), Callers: m.GetCallers()}
	switch {
	case l.Name == "":
		r.fail("name", "is empty: a call that it refuses could not say why")
	case len(l.Name) > maxLimitName:
		r.fail("name", "has %d bytes, at most %d are accepted", len(l.Name), maxLimitName)
	}
	var ok bool
	if l.Per, ok = ratePers[m.GetPer()]; !ok {
		r.fail("per", "%v is not known to this version", m.GetPer())
	}
	switch {
	case l.Per == PerMetadata:
		r.readable("metadata_key", l.MetadataKey)
	case l.MetadataKey != "":
		r.fail("metadata_key", "is of limits per metadata; this one is not")
	}
	var err error
	l.Rate, err = decodeRate(m.GetRate())
	r.keep(under("rate", err))
	r.length("methods", len(l.Methods), maxSelected)
	r.length("callers", len(l.Callers), maxSelected)
	if r.err != nil {
		return l, r.err
	}
	for i, method := range l.Methods {
		if _, ok := serviceOf(method); !ok || strings.Contains(strings.TrimSuffix(method, "/*"), "*") {
			return l, at("methods", i, bad("", "%q is no method, as in /package.Service/Method or /package.Service/*", method))
		}
	}
	for i, caller := range l.Callers {
		if err := checkID(caller); err != nil {
			return l, at("callers", i, err)
		}
	}
	return l, nil
}

func decodeConcurrency(m *xdsv3.OwnConcurrency) (*Concurrency, error) {
	var r reading
	if !m.GetAdaptive() {
		if m.GetMin() != 0 || m.GetMax() != 0 || m.GetTolerance() != 0 {
			r.fail("adaptive", "is not set: min, max and tolerance are of a limit that moves")
		}
		c := &Concurrency{Limit: r.count("limit", m.GetLimit(), 0, 1, maxPerSecond)}
		if c.Limit == 0 {
			r.fail("limit", "must be above zero")
		}
		return c, r.err
	}
	c := DefaultConcurrency()
	c.Min = r.count("min", m.GetMin(), c.Min, 1, maxPerSecond)
	c.Max = r.count("max", m.GetMax(), max(c.Max, c.Min, m.GetLimit()), 1, maxPerSecond)
	c.Limit = cmp.Or(m.GetLimit(), max(c.Min, min(c.Limit, c.Max)))
	c.Tolerance = r.number("tolerance", m.GetTolerance(), c.Tolerance, 1, 100)
	switch {
	case c.Min > c.Max:
		r.fail("max", "is %d, below min of %d", c.Max, c.Min)
	case c.Limit < c.Min || c.Limit > c.Max:
		r.fail("limit", "is %d, it must be from min to max, %d to %d", c.Limit, c.Min, c.Max)
	case c.Tolerance == 1:
		r.fail("tolerance", "must be above 1")
	}
	return &c, r.err
}

// decodeOwnFault reads a fault that no caller can ask for.
func decodeOwnFault(m *xdsv3.OwnFault) (*Fault, error) {
	var r reading
	f := &Fault{
		Delay:           r.duration("delay", m.GetDelay(), 0, 0),
		DelayPerMillion: r.count("delay_per_million", m.GetDelayPerMillion(), 0, 1, million),
		AbortCode:       codes.Code(m.GetAbortCode()),
		AbortPerMillion: r.count("abort_per_million", m.GetAbortPerMillion(), 0, 1, million),
	}
	switch {
	case f.DelayPerMillion > 0 && f.Delay == 0:
		r.fail("delay", "is missing for a share of the calls that is above zero")
	case f.AbortCode > maxCode:
		r.fail("abort_code", "%d is no status code of a failure: want 1 to %d", m.GetAbortCode(), maxCode)
	case f.AbortPerMillion > 0 && f.AbortCode == codes.OK:
		r.fail("abort_code", "is missing for a share of the calls that is above zero")
	}
	return f, r.err
}
